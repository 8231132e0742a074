//! A name server that is silent about one host.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;

use crate::support::{KEY, hello};

use super::bystander::{code_of, soon_after};
use super::{Bystander, MANY, network};

/// Answers every question for an address with 127.0.0.1, but says nothing of hosts with "slow" in their name.
///
/// Source: RFC 1035, section 4.
async fn answer_names(socket: UdpSocket) {
    const HEAD: usize = 12;
    const A: [u8; 2] = [0, 1];
    let mut question = [0; 512];
    loop {
        let (length, asker) = socket.recv_from(&mut question).await.unwrap();
        let question = &question[..length];
        // Behind the name, which ends with an empty label, there are its type and its class.
        let end = HEAD + question[HEAD..].iter().position(|byte| *byte == 0).unwrap() + 1;
        let name = &question[HEAD..end];
        if name.windows(4).any(|four| four == b"slow") {
            continue;
        }
        let is_found = question[end..end + 2] == A;
        let mut answer = question[..2].to_vec();
        answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_found), 0, 0, 0, 0]);
        answer.extend(&question[HEAD..end + 4]);
        if is_found {
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
            answer.extend(Ipv4Addr::LOCALHOST.octets());
        }
        socket.send_to(&answer, asker).await.unwrap();
    }
}

#[actix_web::test]
async fn a_host_whose_name_is_not_answered_holds_up_no_other() {
    if !network::entered("faults::slow_names::a_host_whose_name_is_not_answered_holds_up_no_other").await {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("resolv.conf");
    std::fs::write(&settings, "nameserver 127.0.0.1\noptions timeout:30 attempts:1\n").unwrap();
    network::run(&format!("mount --bind {} /etc/resolv.conf", settings.display())).await;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 53)).await.unwrap();
    tokio::spawn(answer_names(socket));

    // It keeps no connection, so that its name is looked up again and again.
    let mut gateway = Bystander::known_as("good.test", "http://slow.test:9/v1", "2").await;
    let started = Instant::now();
    for round in 1..=3 {
        for answer in gateway.ask_bad(vec![hello(); MANY]).await {
            assert!(["upstream_unreachable", "upstream_first_event_timeout"].contains(&code_of(&answer).as_str()));
        }
        let limit = soon_after(Duration::from_secs(2) * round);
        assert!(started.elapsed() < limit, "{:?} after {round} rounds", started.elapsed());
    }
    let looked = Instant::now();
    assert_eq!(gateway.client().get("/stats?format=json", KEY).await.status, 200);
    assert!(looked.elapsed() < soon_after(Duration::ZERO), "{:?}", looked.elapsed());
    let threads = std::fs::read_dir(format!("/proc/{}/task", gateway.program.pid())).unwrap().count();
    println!("{threads} threads");
    assert!(threads < 50, "{threads} threads");
    // The look-up goes on, and nothing waits for it.
    let ended = Instant::now();
    assert_eq!(gateway.program.terminate().await.code(), Some(0));
    assert!(ended.elapsed() < soon_after(Duration::ZERO), "{:?}", ended.elapsed());
}
