//! An engine that can be let go of, so that another process opens its files, and taken back.
//!
//! Whoever holds the lease holds the lock of the data directory all the time, and hands it on open: at no moment can a third
//! process come in between. What is asked meanwhile waits; afterwards it goes on, or is refused if the files are another's now.

use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedRwLockWriteGuard, RwLock, RwLockReadGuard, broadcast, watch};

use super::{Backend, Changed, Engine, Freshness, Loaded, Pending, StoreError, Stored, Told, Write, sled};

/// The engine, while it is here.
type Held = Arc<RwLock<Option<Arc<dyn Backend>>>>;

/// An engine that answers as long as this process has it.
struct Leased {
    held: Held,
    told: broadcast::Sender<Told>,
    /// Whether this process may write already.
    may_write: watch::Receiver<bool>,
}

/// The right to the files below a data directory.
pub struct Lease {
    engine: Engine,
    lock: Mutex<Option<File>>,
    held: Held,
    told: broadcast::Sender<Told>,
    may_write: watch::Sender<bool>,
}

/// The same while the files are closed here. Whoever drops it has given them up.
pub struct LetGo {
    held: OwnedRwLockWriteGuard<Option<Arc<dyn Backend>>>,
    engine: Engine,
    lock: File,
    told: broadcast::Sender<Told>,
}

/// Opens a store that can be let go of. `handed` is the lock of its directory, from whoever let go of it: then nothing is
/// written until [`Lease::begin_writing`].
pub async fn lease(engine: Engine, handed: Option<File>) -> Result<(Arc<dyn Backend>, Lease), StoreError> {
    let (told, may_write) = (broadcast::Sender::new(sled::WATCH_CAPACITY), watch::Sender::new(handed.is_none()));
    let Engine::Sled { directory } = &engine else {
        // There are no files, so nothing to let go of.
        let store = super::open(engine.clone()).await?;
        return Ok((store, Lease { engine, lock: Mutex::new(None), held: Arc::default(), told, may_write }));
    };
    let lock = match handed {
        Some(lock) => lock,
        None => sled::hold(directory)?,
    };
    let held: Arc<dyn Backend> = Arc::new(sled::Sled::open_held(directory.clone(), again(&lock)?, told.clone()).await?);
    let held = Arc::new(RwLock::new(Some(held)));
    let leased = Leased { held: Arc::clone(&held), told: told.clone(), may_write: may_write.subscribe() };
    Ok((Arc::new(leased), Lease { engine, lock: Mutex::new(Some(lock)), held, told, may_write }))
}

/// The same lock once more: it is held until the last of them is closed.
fn again(lock: &File) -> Result<File, StoreError> {
    lock.try_clone().map_err(|error| StoreError::Failed(format!("the lock of the data directory cannot be handed on: {error}")))
}

impl Lease {
    /// Writes that waited, and all others, are carried out from now on.
    pub fn begin_writing(&self) {
        self.may_write.send_replace(true);
    }

    /// Every change of the files from now on, whoever makes it.
    pub fn changes(&self) -> broadcast::Receiver<Told> {
        self.told.subscribe()
    }

    /// Tells the followers of a change that another process made. Its revision is not known here.
    pub fn pass_on(&self, changed: Changed) {
        // Nobody following is no fault.
        let _ = self.told.send(Told::Commit { revision: 0, changes: vec![changed] });
    }

    /// Whether there is anything that another process could open.
    pub fn can_be_let_go(&self) -> bool {
        self.lock().is_some()
    }

    /// Closes the files once what is under way is done. `None` where there are none.
    pub async fn let_go(&self) -> Result<Option<LetGo>, StoreError> {
        let Some(lock) = self.lock().as_ref().map(again).transpose()? else { return Ok(None) };
        let mut held = Arc::clone(&self.held).write_owned().await;
        if let Some(engine) = held.take() {
            // It waits for the thread that has the files.
            let closed = tokio::task::spawn_blocking(move || drop(engine)).await;
            closed.map_err(|fault| StoreError::Failed(format!("the store did not close: {fault}")))?;
        }
        Ok(Some(LetGo { held, engine: self.engine.clone(), lock, told: self.told.clone() }))
    }

    /// Closes the lock too, once the files are another's.
    pub fn give_up(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<File>> {
        // Nothing panics meanwhile.
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LetGo {
    /// What goes with the files.
    pub fn lock(&self) -> &File {
        &self.lock
    }

    /// Opens the files again, if nobody has them open.
    pub async fn take_back(mut self) -> Result<(), (Self, StoreError)> {
        let Engine::Sled { directory } = &self.engine else { return Ok(()) };
        let lock = match again(&self.lock) {
            Ok(lock) => lock,
            Err(fault) => return Err((self, fault)),
        };
        match sled::Sled::open_held(directory.clone(), lock, self.told.clone()).await {
            Ok(engine) => {
                *self.held = Some(Arc::new(engine));
                Ok(())
            }
            Err(fault) => Err((self, fault)),
        }
    }
}

impl Leased {
    /// The engine, once it is here.
    async fn engine(&self) -> Result<RwLockReadGuard<'_, Arc<dyn Backend>>, StoreError> {
        let held = self.held.read().await;
        RwLockReadGuard::try_map(held, Option::as_ref).map_err(|_| {
            StoreError::Failed("another server has taken this one's place, and has the store; ask once more".to_owned())
        })
    }

    async fn carry_out(&self, writes: Vec<Write>) -> Result<Vec<u64>, StoreError> {
        // The sender lives as long as the lease; without one nobody will ever permit it.
        let closed = |_| StoreError::Failed("the store is closed".to_owned());
        self.may_write.clone().wait_for(|may| *may).await.map_err(closed)?;
        self.engine().await?.commit(writes).await
    }
}

impl Backend for Leased {
    fn load(&self, prefixes: &[&str]) -> Pending<'_, Result<Loaded, StoreError>> {
        let prefixes: Vec<String> = prefixes.iter().map(|prefix| (*prefix).to_owned()).collect();
        Box::pin(async move {
            let prefixes: Vec<&str> = prefixes.iter().map(String::as_str).collect();
            self.engine().await?.load(&prefixes).await
        })
    }

    fn page(&self, prefix: &str, after: Option<&str>, limit: usize) -> Pending<'_, Result<Vec<Stored>, StoreError>> {
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        Box::pin(async move { self.engine().await?.page(&prefix, after.as_deref(), limit).await })
    }

    fn read(&self, key: &str) -> Pending<'_, Result<Option<Stored>, StoreError>> {
        let key = key.to_owned();
        Box::pin(async move { self.engine().await?.read(&key).await })
    }

    fn commit(&self, writes: Vec<Write>) -> Pending<'_, Result<Vec<u64>, StoreError>> {
        Box::pin(self.carry_out(writes))
    }

    fn watch(&self) -> broadcast::Receiver<Told> {
        self.told.subscribe()
    }

    fn freshness(&self) -> watch::Receiver<Freshness> {
        Freshness::always()
    }

    fn is_shared(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::super::Expect;
    use super::*;

    fn put(key: &str) -> Vec<Write> {
        vec![Write::Put { key: key.to_owned(), expect: Expect::Absent, bytes: key.into() }]
    }

    async fn keys(store: &dyn Backend) -> Vec<String> {
        store.load(&[""]).await.expect("read").stored.into_iter().map(|stored| stored.key).collect()
    }

    #[tokio::test]
    async fn what_is_asked_while_the_files_are_away_waits_and_is_done_when_they_are_back() {
        let place = tempfile::tempdir().expect("a directory");
        let engine = || Engine::Sled { directory: place.path().to_owned() };
        let (store, lease) = lease(engine(), None).await.expect("opens");
        store.commit(put("a")).await.expect("written");
        let away = lease.let_go().await.expect("closed").expect("there are files");
        let waiting = tokio::spawn({
            let store = Arc::clone(&store);
            async move { store.commit(put("b")).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        assert!(matches!(super::super::open(engine()).await, Err(StoreError::InUse { .. })), "the lock was never let go of");
        away.take_back().await.map_err(|(_, fault)| fault).expect("nobody has them");
        waiting.await.expect("no panic").expect("written");
        assert_eq!(keys(&*store).await, ["a", "b"]);
    }

    #[tokio::test]
    async fn whoever_gets_the_lock_opens_the_files_and_writes_once_it_may_and_the_former_holder_is_refused() {
        let place = tempfile::tempdir().expect("a directory");
        let engine = || Engine::Sled { directory: place.path().to_owned() };
        let (store, former) = lease(engine(), None).await.expect("opens");
        store.commit(put("a")).await.expect("written");
        let away = former.let_go().await.expect("closed").expect("there are files");
        let handed = away.lock().try_clone().expect("a descriptor");
        let (next, lease) = lease(engine(), Some(handed)).await.expect("opens");
        assert_eq!(keys(&*next).await, ["a"]);
        let mut changes = lease.changes();
        let write = tokio::spawn({
            let next = Arc::clone(&next);
            async move { next.commit(put("b")).await }
        });
        assert_eq!(keys(&*next).await, ["a"], "not yet");
        assert!(!write.is_finished());
        let (away, fault) = away.take_back().await.expect_err("the other has them");
        assert!(matches!(fault, StoreError::InUse { .. }), "{fault}");
        lease.begin_writing();
        write.await.expect("no panic").expect("written");
        let Told::Commit { changes, .. } = changes.recv().await.expect("told") else { panic!("nothing was missed") };
        assert_eq!(changes[0].key, "b");
        drop(away);
        former.give_up();
        assert!(store.commit(put("c")).await.expect_err("it is not here").to_string().contains("another server"));
        drop((next, lease));
        super::super::open(engine()).await.expect("nobody holds it any more");
    }
}
