//! A way to a member that can be cut: at a random moment, for a while, or right behind a request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Whoever connects here is led to a member.
pub struct Relay {
    pub address: SocketAddr,
    /// How often everything was cut.
    cuts: watch::Sender<u64>,
    is_closed: Arc<AtomicBool>,
    /// Answers are swallowed from here on.
    is_deaf: Arc<AtomicBool>,
    connections: Arc<AtomicUsize>,
}

impl Relay {
    pub async fn to(member: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let relay = Self {
            address: listener.local_addr().expect("bound"),
            cuts: watch::Sender::new(0),
            is_closed: Arc::default(),
            is_deaf: Arc::default(),
            connections: Arc::default(),
        };
        let (cuts, is_closed, is_deaf) = (relay.cuts.clone(), Arc::clone(&relay.is_closed), Arc::clone(&relay.is_deaf));
        let connections = Arc::clone(&relay.connections);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if !is_closed.load(Ordering::SeqCst) {
                    connections.fetch_add(1, Ordering::SeqCst);
                    tokio::spawn(lead(client, member, cuts.subscribe(), Arc::clone(&is_deaf)));
                }
            }
        });
        relay
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Cuts every connection; new ones can be made.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Cuts every connection, and every new one at once, until it is opened.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        self.cut();
    }

    pub fn open(&self) {
        self.is_deaf.store(false, Ordering::SeqCst);
        self.is_closed.store(false, Ordering::SeqCst);
    }

    /// What is asked still arrives, and no answer does.
    pub fn deafen(&self) {
        self.is_deaf.store(true, Ordering::SeqCst);
    }

    /// How many were led on so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn lead(mut client: TcpStream, member: SocketAddr, mut cuts: watch::Receiver<u64>, is_deaf: Arc<AtomicBool>) {
    let Ok(mut member) = TcpStream::connect(member).await else { return };
    let _ = (client.set_nodelay(true), member.set_nodelay(true));
    let (mut from_client, mut to_client) = client.split();
    let (mut from_member, mut to_member) = member.split();
    let forth = async { tokio::io::copy(&mut from_client, &mut to_member).await.map(drop) };
    let back = async {
        let mut buffer = vec![0; 16 << 10];
        loop {
            let count = from_member.read(&mut buffer).await?;
            if count == 0 {
                return std::io::Result::Ok(());
            }
            if !is_deaf.load(Ordering::SeqCst) {
                to_client.write_all(&buffer[..count]).await?;
            }
        }
    };
    tokio::select! {
        _ = forth => {}
        _ = back => {}
        _ = cuts.changed() => {}
    }
}
