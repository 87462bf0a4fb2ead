//! Under systemd: its sockets, what it is told, and the sandbox of the unit.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::net::TcpStream;

use super::support::client::exchange;
use super::support::{Proxy, VALUE, World, reply, soon};

/// Becomes its arguments, with what is on standard input as the one socket that systemd would pass.
const PASSING: &str = "exec 3<&0 0</dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\"";

/// A socket that listens, and what stands for it in a config.
fn socket() -> (TcpListener, SocketAddr) {
    let socket = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = socket.local_addr().expect("bound");
    (socket, address)
}

fn passed(socket: &TcpListener) -> Stdio {
    OwnedFd::from(socket.try_clone().expect("a descriptor")).into()
}

/// Has the config name `address` in the place of any.
fn listen_on(proxy: &Proxy, section: &str, address: SocketAddr) {
    let path = proxy.path("subrosa.toml");
    let text = std::fs::read_to_string(&path).expect("it is there");
    let any = format!("[{section}]\nlisten = [\"127.0.0.1:0\"]");
    assert!(text.contains(&any), "{text}");
    std::fs::write(&path, text.replace(&any, &format!("[{section}]\nlisten = [\"{address}\"]"))).expect("written");
}

#[tokio::test]
async fn while_somebody_else_holds_its_socket_a_restart_loses_no_new_connection() {
    let (socket, address) = socket();
    let mut world = World::with("", reply("200 OK", "", "ok")).await;
    world.proxy.stop().await;
    listen_on(&world.proxy, "proxy", address);
    let name = ["sh", "-c", "export LISTEN_FDNAMES=proxy; eval \"$0\"", PASSING];
    world.proxy.start_again_with(&name, passed(&socket)).await;
    assert_eq!(world.proxy.address, address);
    let (over, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (over, asked) = (Arc::clone(&over), Arc::clone(&asked));
            tokio::spawn(async move {
                while !over.load(Ordering::SeqCst) {
                    let number = asked.fetch_add(1, Ordering::SeqCst);
                    let mut stream = soon(TcpStream::connect(address)).await.expect("never refused");
                    let request = format!(
                        "GET http://plain.crm.example.com/{number} HTTP/1.1\r\nHost: x\r\nX-Key: {{secrets.crm.apiKey}}\r\n\r\n"
                    );
                    let response = exchange(&mut stream, &request).await;
                    assert_eq!((response.status(), response.text().as_str()), (200, "ok"), "{}", response.head);
                }
            })
        })
        .collect();
    for _ in 0..3 {
        let before = world.crm_plain.received().len();
        soon(async {
            while world.crm_plain.received().len() < before + 20 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert!(world.proxy.stop().await.success());
        world.proxy.start_again_with(&name, passed(&socket)).await;
    }
    over.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.expect("every request was answered");
    }
    let mut lines: Vec<String> = world.crm_plain.received().iter().map(|received| received.line().to_owned()).collect();
    assert!(world.crm_plain.received().iter().all(|received| received.field("x-key") == VALUE));
    lines.sort();
    lines.dedup();
    let asked = asked.load(Ordering::SeqCst);
    assert_eq!((lines.len(), world.crm_plain.received().len()), (asked, asked), "each came exactly once");
}

#[tokio::test]
async fn it_serves_what_systemd_hands_over_by_address_and_name() {
    let mut proxy = Proxy::start(tempfile::tempdir().expect("a directory"), "").await;
    proxy.stop().await;
    let (address, admin) = (socket().1, socket().1);
    listen_on(&proxy, "proxy", address);
    listen_on(&proxy, "admin", admin);
    let listening = [address.to_string(), admin.to_string()];
    // It starts its program with the first connection.
    let first = tokio::spawn(async move {
        soon(async {
            loop {
                if let Ok(mut stream) = TcpStream::connect(admin).await {
                    return exchange(&mut stream, "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    });
    let wrapper = ["systemd-socket-activate", "-l", &listening[0], "-l", &listening[1], "--fdname=proxy:admin"];
    proxy.start_again_under(&wrapper).await;
    assert_eq!(first.await.expect("it answers").status(), 200);
    assert_eq!(proxy.address, address);
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let response = exchange(&mut stream, "GET http://api.crm.example.com/ HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(response.status(), 502, "{}", response.text());
}

#[tokio::test]
async fn a_socket_that_the_configuration_does_not_give_to_its_door_refuses_the_start() {
    let (socket, address) = socket();
    let mut proxy = Proxy::start(tempfile::tempdir().expect("a directory"), "").await;
    proxy.stop().await;
    let start = async |name: &str| {
        let serve = tokio::process::Command::new("sh")
            .args(["-c", PASSING, "sh", env!("CARGO_BIN_EXE_subrosa"), "serve", "--config", "subrosa.toml"])
            .current_dir(proxy.path(""))
            .env("LISTEN_FDNAMES", name)
            .stdin(passed(&socket))
            .output();
        let output = soon(serve).await.expect("it starts");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = start("proxy").await;
    assert!(
        said.contains(&format!("listens on {address}, which the configuration does not name: name exactly that in proxy.listen"))
    );
    listen_on(&proxy, "proxy", address);
    let said = start("admin").await;
    assert!(said.contains(&format!("listens on {address}, which is not an address of admin.listen")), "{said}");
}

#[tokio::test]
async fn it_tells_systemd_where_it_stands() {
    let mut proxy = Proxy::start(tempfile::tempdir().expect("a directory"), "").await;
    proxy.stop().await;
    let path = proxy.path("notify");
    let manager = tokio::net::UnixDatagram::from_std({
        let manager = UnixDatagram::bind(&path).expect("bound");
        manager.set_nonblocking(true).expect("set");
        manager
    })
    .expect("in a runtime");
    let told = async || {
        let mut buffer = [0; 256];
        let length = soon(manager.recv(&mut buffer)).await.expect("told");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let socket = format!("NOTIFY_SOCKET={}", path.display());
    proxy.start_again_under(&["env", &socket, "WATCHDOG_USEC=200000"]).await;
    assert_eq!(told().await, "READY=1");
    // It comes again and again.
    for _ in 0..2 {
        assert_eq!(told().await, "WATCHDOG=1");
    }
    let past_signs_of_life = async || loop {
        match told().await {
            sign if sign == "WATCHDOG=1" => {}
            other => return other,
        }
    };
    proxy.signal("-HUP").await;
    let reloading = past_signs_of_life().await;
    let since = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").and_then(|since| since.parse::<u64>().ok());
    assert!(since.is_some(), "{reloading}");
    assert_eq!(past_signs_of_life().await, "READY=1");
    proxy.signal("-TERM").await;
    assert_eq!(past_signs_of_life().await, "STOPPING=1");
    assert!(proxy.wait().await.success());
}

/// The exposure that systemd may count at most, in tenths: what is left is that it speaks to the network, sets its own limits and
/// shares the file system that it reads.
const EXPOSURE: &str = "15";

#[tokio::test]
async fn systemd_finds_the_units_right_and_the_sandbox_tight() {
    let place = tempfile::tempdir().expect("a directory");
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    for unit in ["subrosa.service", "subrosa.socket"] {
        let text = std::fs::read_to_string(config.join(unit)).expect("it is there");
        // Only a program that is there is found right.
        let text = text.replace("/usr/local/bin/subrosa ", &format!("{} ", env!("CARGO_BIN_EXE_subrosa")));
        std::fs::write(place.path().join(unit), text).expect("written");
    }
    let service = place.path().join("subrosa.service").display().to_string();
    let socket = place.path().join("subrosa.socket").display().to_string();
    let analyze = async |arguments: &[&str]| {
        let output = tokio::process::Command::new("systemd-analyze").args(arguments).output();
        let output = soon(output).await.expect("scripts/test-tools installs systemd");
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {said}");
        said
    };
    let said = analyze(&["verify", "--man=no", &service, &socket]).await;
    assert_eq!(said, "", "a warning is a fault");
    let threshold = format!("--threshold={EXPOSURE}");
    analyze(&["security", "--offline=true", "--no-pager", &threshold, &service]).await;
}
