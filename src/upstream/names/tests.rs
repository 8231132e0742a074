use std::collections::HashMap as Counts;
use std::net::Ipv4Addr;
use std::sync::Condvar;

use actix_tls::connect::{Connector, Resolver};
use awc::error::{ConnectError, SendRequestError};
use futures::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::*;
use crate::config::Authorities;
use crate::upstream::client::{HTTP1, KEEP_ALIVE, build, tls_config};
use crate::upstream::install_crypto;

/// A system that keeps whoever asks for a name with "slow" in it until the gate is open.
#[derive(Default)]
struct System {
    asked: Mutex<Counts<String, usize>>,
    is_open: Mutex<bool>,
    opens: Condvar,
}

impl System {
    /// With a book of names that asks it.
    fn new() -> (Arc<Self>, Names) {
        let system = Arc::<Self>::default();
        let names = system.book();
        (system, names)
    }

    fn book(self: &Arc<Self>) -> Names {
        let system = Arc::clone(self);
        Names::new(move |host| system.look_up(host))
    }

    fn look_up(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        *self.asked.lock().unwrap().entry(host.to_owned()).or_default() += 1;
        if host.contains("slow") {
            let _open = self.opens.wait_while(self.is_open.lock().unwrap(), |is_open| !*is_open).unwrap();
        }
        match host {
            "panic" => panic!("the system is broken"),
            "nobody" => Err(io::ErrorKind::NotFound.into()),
            _ => Ok(vec![Ipv4Addr::LOCALHOST.into()]),
        }
    }

    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opens.notify_all();
    }

    fn asked_for(&self, host: &str) -> usize {
        self.asked.lock().unwrap().get(host).copied().unwrap_or_default()
    }
}

/// A test that fails must not wait for the threads that it leaves.
struct Opens(Arc<System>);

impl Drop for Opens {
    fn drop(&mut self) {
        self.0.open();
    }
}

const HERE: [IpAddr; 1] = [IpAddr::V4(Ipv4Addr::LOCALHOST)];

#[tokio::test]
async fn all_who_ask_for_a_host_wait_for_one_look_up() {
    let (system, names) = System::new();
    let _opens = Opens(Arc::clone(&system));
    let asking = join_all((0..200).map(|_| names.find("slow")));
    let opening = async {
        // All of the others have been polled once by now.
        tokio::task::yield_now().await;
        system.open();
    };
    let (found, ()) = tokio::join!(asking, opening);
    assert!(found.iter().all(|found| found.as_deref() == Ok(&HERE[..])));
    assert_eq!(names.find("slow").await.as_deref(), Ok(&HERE[..]));
    assert_eq!(system.asked_for("slow"), 1);
}

#[tokio::test]
async fn who_has_left_finds_the_answer_later() {
    let (system, names) = System::new();
    let _opens = Opens(Arc::clone(&system));
    assert!(names.find("slow").now_or_never().is_none());
    assert!(timeout(Duration::from_millis(1), names.find("slow")).await.is_err());
    system.open();
    assert_eq!(names.find("slow").await.as_deref(), Ok(&HERE[..]));
    assert_eq!(system.asked_for("slow"), 1);
}

#[tokio::test]
async fn a_book_full_of_slow_hosts_holds_up_no_other_book() {
    let (system, strangers) = System::new();
    let _opens = Opens(Arc::clone(&system));
    let hosts: Vec<String> = (0..2 * AT_ONCE).map(|number| format!("slow-{number}")).collect();
    let asking = join_all(hosts.iter().map(|host| strangers.find(host)));
    let others = async {
        tokio::task::yield_now().await;
        assert_eq!(strangers.0.room.available_permits(), 0);
        assert_eq!(system.book().find("good").await.as_deref(), Ok(&HERE[..]));
        system.open();
    };
    let (found, ()) = tokio::join!(asking, others);
    assert!(found.iter().all(Result::is_ok), "there is room for the second half after the first");
}

#[tokio::test]
async fn a_look_up_that_panics_is_begun_anew() {
    let (system, names) = System::new();
    for times in 1..=2 {
        assert_eq!(names.find("panic").await, Err(NoAddress));
        assert_eq!(system.asked_for("panic"), times);
    }
    let all = names.0.room.acquire_many(AT_ONCE.try_into().unwrap());
    assert!(timeout(Duration::from_secs(5), all).await.is_ok(), "it keeps room that it no longer needs");
}

#[tokio::test]
async fn that_there_is_no_address_is_not_asked_for_by_each_request() {
    let (system, names) = System::new();
    for _ in 0..10 {
        assert_eq!(names.find("nobody").await, Err(NoAddress));
    }
    assert!(system.asked_for("nobody") <= 2);
}

#[test]
fn an_answer_is_good_for_some_seconds() {
    let at = Instant::now();
    let found = Found { addresses: Ok(Arc::from(HERE)), at };
    assert!(found.is_fresh(at) && found.is_fresh(at + KEPT_FOR - Duration::from_millis(1)));
    assert!(!found.is_fresh(at + KEPT_FOR));
    let missing = Found { addresses: Err(NoAddress), at };
    assert!(missing.is_fresh(at) && !missing.is_fresh(at + MISSING_FOR));
}

#[tokio::test]
async fn old_answers_are_thrown_away_when_there_are_many() {
    let (_system, names) = System::new();
    let old = Found { addresses: Err(NoAddress), at: Instant::now() - KEPT_FOR };
    names.hosts(|hosts| {
        hosts.extend((0..MAX_HOSTS).map(|number| (format!("{number}").into(), watch::channel(Some(old.clone())).1)));
    });
    names.find("good").await.unwrap();
    assert_eq!(names.hosts(|hosts| hosts.len()), 1);
}

#[tokio::test]
async fn addresses_are_not_looked_up() {
    let names = Names::new(|host| panic!("{host} is looked up"));
    let found = names.lookup("[::1]", 80).await.unwrap();
    assert_eq!(found, ["[::1]:80".parse().unwrap()]);
}

#[tokio::test]
async fn the_system_knows_this_machine() {
    let found = Names::of_upstreams().find("localhost").await.unwrap();
    assert!(found.iter().all(IpAddr::is_loopback) && !found.is_empty());
}

/// Answers every request with nothing.
async fn serve() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
        }
    });
    port
}

#[test]
fn two_hundred_requests_to_a_slow_host_hold_up_no_request_to_another() {
    const LIMIT: Duration = Duration::from_millis(500);
    install_crypto();
    let (system, names) = System::new();
    let _opens = Opens(Arc::clone(&system));
    actix_rt::System::new().block_on(async {
        let port = serve().await;
        let connector = Connector::new(Resolver::custom(names)).service();
        let client = build(connector, tls_config(&Authorities::new(), HTTP1), LIMIT, KEEP_ALIVE);
        let slow = join_all((0..200).map(|_| client.get(format!("http://slow.test:{port}/")).send()));
        let good = async {
            for _ in 0..20 {
                assert_eq!(client.get(format!("http://good.test:{port}/")).send().await.unwrap().status(), 200);
            }
            Instant::now()
        };
        let slow = async { (slow.await, Instant::now()) };
        let ((slow, last), answered) = tokio::join!(slow, good);
        let in_time = |error| matches!(error, SendRequestError::Connect(ConnectError::Timeout));
        assert!(slow.into_iter().all(|outcome| outcome.is_err_and(in_time)));
        assert!(answered < last, "the good host had to wait for the slow one");
        assert_eq!((system.asked_for("slow.test"), system.asked_for("good.test")), (1, 1));
    });
}
