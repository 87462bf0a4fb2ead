//! A cluster of etcd in a directory of its own: three members, or one where that is enough.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, GetOptions};
use subrosa::store::EtcdSettings;
use tempfile::TempDir;

use crate::support::{Ca, soon};

/// How its members are talked to.
pub struct Tls {
    pub ca: Ca,
    pub clients: Ca,
}

/// What is otherwise about the members' certificates.
type Change<'a> = &'a dyn Fn(&mut rcgen::CertificateParams);

pub struct Cluster {
    dir: TempDir,
    members: Vec<Member>,
    is_secure: bool,
}

struct Member {
    name: String,
    client: u16,
    peer: u16,
    child: Option<Child>,
}

impl Cluster {
    /// Starts it and waits until it has a leader.
    pub async fn start(count: usize) -> Self {
        let cluster = Self::begin(count, None);
        cluster.ready().await;
        cluster
    }

    /// The same, whose members show certificates for 127.0.0.1 and want one from each client.
    pub fn secure(tls: &Tls, change: impl Fn(&mut rcgen::CertificateParams)) -> Self {
        Self::begin(1, Some((tls, &change)))
    }

    fn begin(count: usize, tls: Option<(&Tls, Change<'_>)>) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let ports = free_ports(count * 2);
        let member =
            |index: usize| Member { name: format!("m{index}"), client: ports[index], peer: ports[count + index], child: None };
        let mut cluster = Self { members: (0..count).map(member).collect(), is_secure: tls.is_some(), dir };
        if let Some((tls, change)) = tls {
            let (certificate, key) = tls.ca.pair_made(&["127.0.0.1"], change);
            cluster.write("server.pem", &certificate);
            cluster.write("server-key.pem", &key);
            cluster.write("ca.pem", tls.ca.pem());
            cluster.write("clients.pem", tls.clients.pem());
            tls.clients.pair_files(cluster.dir.path(), "client", &["node.example"]);
        }
        for index in 0..count {
            cluster.run(index);
        }
        cluster
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
    }

    /// Starts a member, whose files may be there already.
    pub fn run(&mut self, index: usize) {
        let scheme = if self.is_secure { "https" } else { "http" };
        let peers: Vec<_> =
            self.members.iter().map(|member| format!("{}=http://127.0.0.1:{}", member.name, member.peer)).collect();
        let member = &self.members[index];
        let (client, peer) = (format!("{scheme}://127.0.0.1:{}", member.client), format!("http://127.0.0.1:{}", member.peer));
        let data = self.path(&member.name);
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path(&format!("{}.log", member.name)));
        let mut command = Command::new("etcd");
        command
            .args(["--name", &member.name, "--initial-cluster", &peers.join(","), "--initial-cluster-state", "new"])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--heartbeat-interval", "50", "--election-timeout", "500", "--logger", "zap", "--log-outputs", "stderr"])
            .arg("--data-dir")
            .arg(data)
            .stdout(Stdio::null())
            .stderr(log.expect("a log"));
        if self.is_secure {
            let files = [("--cert-file", "server.pem"), ("--key-file", "server-key.pem"), ("--trusted-ca-file", "clients.pem")];
            for (flag, file) in files {
                command.arg(flag).arg(self.path(file));
            }
            command.arg("--client-cert-auth");
        }
        self.members[index].child = Some(command.spawn().expect("etcd is installed: scripts/test-tools fleet"));
    }

    pub fn endpoint(&self, index: usize) -> String {
        format!("{}://127.0.0.1:{}", if self.is_secure { "https" } else { "http" }, self.members[index].client)
    }

    pub fn address(&self, index: usize) -> std::net::SocketAddr {
        ([127, 0, 0, 1], self.members[index].client).into()
    }

    pub fn endpoints(&self) -> Vec<String> {
        (0..self.members.len()).map(|index| self.endpoint(index)).collect()
    }

    /// What an engine has to know.
    pub fn settings(&self, prefix: &str) -> EtcdSettings {
        let file = |name: &str| self.is_secure.then(|| self.path(name));
        EtcdSettings {
            endpoints: self.endpoints(),
            prefix: prefix.to_owned(),
            user: None,
            password_file: None,
            ca_file: file("ca.pem"),
            certificate_file: file("client.pem"),
            key_file: file("client-key.pem"),
            timeout: Duration::from_secs(5),
            is_patient: false,
        }
    }

    /// A client beside the engine, for what nobody but etcd's own administrator does.
    pub async fn client(&self) -> Client {
        let client = Client::connect(self.endpoints(), Some(ConnectOptions::new().with_timeout(Duration::from_secs(2)))).await;
        client.expect("it can be named")
    }

    async fn ready(&self) {
        let answers = Box::pin(async {
            while self.client().await.get("x", None).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        soon(answers).await;
    }

    /// Every key with its value, whoever's they are.
    pub async fn dump(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut all = self.client().await.get("", Some(GetOptions::new().with_all_keys())).await.expect("reads");
        all.take_kvs().into_iter().map(etcd_client::KeyValue::into_key_value).collect()
    }

    /// Forgets everything but what is there now.
    pub async fn compact(&self) {
        let mut client = self.client().await;
        let now = client.get("x", None).await.expect("reads").header().expect("it has one").revision();
        client.compact(now, Some(etcd_client::CompactionOptions::new().with_physical())).await.expect("compacts");
    }

    /// Which member leads.
    pub async fn leader(&self) -> usize {
        let leads = Box::pin(async {
            loop {
                for index in (0..self.members.len()).filter(|index| self.members[*index].child.is_some()) {
                    let options = ConnectOptions::new().with_timeout(Duration::from_secs(1));
                    let mut client = Client::connect([self.endpoint(index)], Some(options)).await.expect("named");
                    let Ok(status) = client.status().await else { continue };
                    let own = status.header().map_or(0, etcd_client::ResponseHeader::member_id);
                    if own != 0 && status.leader() == own {
                        return index;
                    }
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        soon(leads).await
    }

    /// SIGKILL.
    pub fn kill(&mut self, index: usize) {
        if let Some(mut child) = self.members[index].child.take() {
            child.kill().expect("killed");
            child.wait().expect("it ends");
        }
    }

    /// SIGSTOP, or SIGCONT.
    pub fn signal(&self, index: usize, signal: rustix::process::Signal) {
        let child = self.members[index].child.as_ref().expect("it runs");
        let id = rustix::process::Pid::from_raw(i32::try_from(child.id()).expect("small")).expect("an id");
        rustix::process::kill_process(id, signal).expect("sent");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            if let Some(mut child) = member.child.take() {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

/// Ports that nobody has at the moment.
fn free_ports(count: usize) -> Vec<u16> {
    let held: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
    held.iter().map(|listener| listener.local_addr().expect("bound").port()).collect()
}
