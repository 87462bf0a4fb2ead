//! A tap between the browser and the admin port: every byte that the server answered is kept, whatever
//! the browser makes of it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub struct Tap {
    address: SocketAddr,
    answered: Arc<Mutex<Vec<u8>>>,
}

impl Tap {
    pub async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let answered = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&answered);
        tokio::spawn(async move {
            while let Ok((browser, _)) = listener.accept().await {
                let record = Arc::clone(&record);
                tokio::spawn(async move { relay(browser, TcpStream::connect(server).await.ok()?, &record).await });
            }
        });
        Self { address, answered }
    }

    /// Where the browser finds the server.
    pub fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything that the server answered.
    pub fn answered(&self) -> Vec<u8> {
        self.answered.lock().expect("no test panics with it").clone()
    }
}

async fn relay(browser: TcpStream, server: TcpStream, record: &Mutex<Vec<u8>>) -> Option<()> {
    let (mut from_browser, mut to_browser) = browser.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let asking = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from_browser, &mut to_server).await;
        to_server.shutdown().await
    });
    let mut buffer = Vec::with_capacity(16 << 10);
    while from_server.read_buf(&mut buffer).await.is_ok_and(|read| read > 0) {
        record.lock().expect("no test panics with it").extend_from_slice(&buffer);
        to_browser.write_all(&buffer).await.ok()?;
        buffer.clear();
    }
    asking.abort();
    to_browser.shutdown().await.ok()
}
