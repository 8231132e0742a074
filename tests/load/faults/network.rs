//! A network of its own for a test, where packets can get lost.
//!
//! ```ignore
//! if !network::entered("faults::half_open::name_of_this_test").await { return }
//! network::lose_packets_from(port).await;
//! ```
//!
//! The test runs once more, alone, in namespaces of Linux: the machine's own network is not touched. Where the system
//! does not allow them, the test is skipped, and says so.

use std::path::Path;

use tokio::process::Command;

const IS_INSIDE: &str = "UNI_API_TEST_NETWORK";
const NAMESPACES: [&str; 7] = ["--user", "--map-root-user", "--net", "--mount", "--mount-proc", "--pid", "--fork"];

/// Whether the test of this name, which calls this, is in a network of its own. If not, it has been run there.
pub async fn entered(test: &str) -> bool {
    if std::env::var_os(IS_INSIDE).is_some() {
        run("ip link set lo up").await;
        // Behind the rules of the test.
        run("ip rule add pref 100 lookup local").await;
        run("ip rule del pref 0").await;
        return true;
    }
    let unshare = |program: &Path| {
        let mut command = Command::new("unshare");
        command.args(NAMESPACES).arg("--kill-child").arg(program).kill_on_drop(true);
        command
    };
    let is_allowed = unshare(Path::new("/bin/true")).output().await.is_ok_and(|output| output.status.success());
    if !is_allowed || Command::new("ip").arg("-V").output().await.is_err() {
        println!("skipped: there are no namespaces here, or there is no ip command");
        return false;
    }
    let mut again = unshare(&std::env::current_exe().unwrap());
    again.args(["--exact", test, "--nocapture"]).env(IS_INSIDE, "1");
    let output = again.output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    println!("{said}");
    assert!(output.status.success() && said.contains("1 passed"), "it failed in a network of its own");
    false
}

/// Whatever comes from this TCP port is lost from now on, without a word. What is sent to it arrives.
pub async fn lose_packets_from(port: u16) {
    run(&format!("ip rule add pref 50 ipproto tcp sport {port} blackhole")).await;
}

/// Whatever goes to this TCP port is lost.
pub async fn lose_packets_to(port: u16) {
    run(&format!("ip rule add pref 50 ipproto tcp dport {port} blackhole")).await;
}

/// Runs a command of the shell.
pub async fn run(command: &str) {
    let output = Command::new("sh").args(["-c", command]).output().await.unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}
