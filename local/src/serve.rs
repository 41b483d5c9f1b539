//! Opening, serving and closing the endpoint.
//!
//! One process per folder, by a lock that dies with the process. Shutdown answers long polls at once, lets requests in
//! flight end for a while, then stops.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    future::Future,
    io,
    net::SocketAddr,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use s3s::{auth::SimpleAuth, config::StaticConfigProvider, service::S3ServiceBuilder};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    auth::Credentials,
    db::{Db, DbError},
    faults::Faults,
    front::{Ended, Front},
    line::Line,
    rds::{RdsBackend, RdsData, RdsOpenError},
    s3, sns, sqs,
    state::{Clock, Endpoint, Ids, QueueWakes},
    stats::Stats,
};

/// How long requests in flight may take to end after the shutdown began.
const GRACE: Duration = Duration::from_secs(10);
/// Largest file of a browser form, in bytes; s3s holds it in memory. Larger files go up by PUT or multipart.
const MAX_FORM_FILE: u64 = 64 << 20;

/// What the endpoint is to be.
#[derive(Clone, Debug)]
pub struct LocalConfig {
    /// Folder of all data; made if it is missing.
    pub data_dir: PathBuf,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Base of queue URLs, without a slash at its end, when clients reach the endpoint by another name than `listen`.
    pub public_url: Option<String>,
    /// Region that ARNs carry.
    pub region: String,
    /// Account that ARNs and queue URLs carry, 12 digits.
    pub account_id: String,
    /// Access keys and their secrets. Each may do everything.
    pub credentials: Vec<(String, String)>,
    /// Where the tables behind the RDS Data API live; `None`: SQLite, `app.sqlite` in the folder.
    pub rds: Option<RdsBackend>,
    /// Bytes of the disk that uploads leave free; below it PUT answers 507, while everything else goes on.
    pub reserve_bytes: u64,
    /// A file of faults to be suffered on purpose from the start; see `docs/faults.md`.
    pub faults: Option<PathBuf>,
}

impl LocalConfig {
    /// An endpoint on a free loopback port, for account `000000000000` in `us-east-1`.
    pub fn new(data_dir: impl Into<PathBuf>, access_key: impl Into<String>, secret_key: impl Into<String>) -> Self {
        Self {
            data_dir: data_dir.into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            public_url: None,
            region: "us-east-1".to_owned(),
            account_id: "000000000000".to_owned(),
            credentials: vec![(access_key.into(), secret_key.into())],
            rds: None,
            reserve_bytes: 256 << 20,
            faults: None,
        }
    }
}

/// Why the endpoint does not serve.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Another process has the folder.
    #[error("{} is in use by another process; one folder serves one endpoint", .0.display())]
    Locked(PathBuf),
    /// The folder cannot be used.
    #[error("cannot use {}: {source}", path.display())]
    Folder {
        /// What was opened.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The database cannot be opened.
    #[error(transparent)]
    Database(#[from] DbError),
    /// The application's database cannot be opened.
    #[error(transparent)]
    Rds(#[from] RdsOpenError),
    /// The faults asked for cannot be.
    #[error("{}: {why}", path.display())]
    Faults {
        /// The file that asks for them.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The configuration makes no sense.
    #[error("{0}")]
    Config(&'static str),
}

/// An endpoint that listens; requests wait until [`Bound::serve`].
pub struct Bound {
    address: SocketAddr,
    listener: TcpListener,
    front: Arc<Front>,
    /// Holds the folder.
    _lock: File,
}

/// Opens the folder and listens.
///
/// # Errors
/// When the folder is in use, a database cannot be opened, or the address cannot be listened on.
pub async fn bind(config: LocalConfig) -> Result<Bound, LocalError> {
    check(&config)?;
    let faults = faults(config.faults.as_deref())?;
    let folder = config.data_dir.clone();
    // What is uploaded is for nobody else on this machine.
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    made.map_err(|source| LocalError::Folder { path: folder.clone(), source })?;
    let lock = lock(&folder)?;
    let listener = TcpListener::bind(config.listen).await;
    let listener = listener.map_err(|source| LocalError::Listen { address: config.listen, source })?;
    let address = listener.local_addr().map_err(|source| LocalError::Listen { address: config.listen, source })?;

    let wakes = Arc::new(QueueWakes::default());
    let db = Db::open(&folder.join("local.sqlite"), Arc::clone(&wakes), |conn| {
        s3::migrate(conn)?;
        sqs::migrate(conn)?;
        sns::migrate(conn)?;
        Ok::<_, DbError>(())
    })?;
    let base_url = config.public_url.as_deref().map(|url| url.trim_end_matches('/').to_owned());
    let state = Arc::new(Endpoint {
        db,
        clock: Clock::system(),
        ids: Ids,
        region: config.region,
        account_id: config.account_id,
        base_url: base_url.unwrap_or_else(|| format!("http://{address}")),
        wakes,
        shutdown: CancellationToken::new(),
        faults,
    });
    let stats = Arc::new(Stats::default());
    let store = s3::Store::open(Arc::clone(&state), Arc::clone(&stats), &folder, config.reserve_bytes).await;
    let store = store.map_err(|source| LocalError::Folder { path: folder.join("blobs"), source })?;
    let backend = config.rds.unwrap_or_else(|| RdsBackend::Sqlite { path: folder.join("app.sqlite") });
    let rds = RdsData::open(&backend).await?;
    let credentials = Credentials::new(config.credentials);
    let s3 = s3s_service(&store, &credentials);
    let front = Arc::new(Front { state, credentials, store, s3, rds, stats });
    Ok(Bound { address, listener, front, _lock: lock })
}

/// [`bind`], then [`Bound::serve`].
///
/// # Errors
/// As [`bind`].
pub async fn serve(config: LocalConfig, shutdown: impl Future<Output = ()>) -> Result<(), LocalError> {
    bind(config).await?.serve(shutdown).await;
    Ok(())
}

fn check(config: &LocalConfig) -> Result<(), LocalError> {
    if config.credentials.is_empty() {
        return Err(LocalError::Config("at least one access key is needed"));
    }
    if config.credentials.iter().any(|(key, secret)| key.is_empty() || key.contains('/') || secret.is_empty()) {
        return Err(LocalError::Config(
            "access keys and secrets must not be empty, and a key must not contain a slash",
        ));
    }
    if config.account_id.len() != 12 || !config.account_id.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(LocalError::Config("an account id has 12 digits"));
    }
    if config.region.is_empty()
        || !config.region.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
    {
        return Err(LocalError::Config("a region has lower-case letters, digits and hyphens"));
    }
    Ok(())
}

fn faults(path: Option<&Path>) -> Result<Faults, LocalError> {
    let faults = Faults::default();
    if let Some(path) = path {
        let wrong = |why: String| LocalError::Faults { path: path.to_owned(), why };
        let rules = fs::read(path).map_err(|error| wrong(error.to_string()))?;
        faults.set(&rules).map_err(|error| wrong(error.to_string()))?;
        tracing::warn!(file = %path.display(), "faults on purpose are in force");
    }
    Ok(faults)
}

fn lock(folder: &Path) -> Result<File, LocalError> {
    let path = folder.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|source| LocalError::Folder { path: path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LocalError::Locked(folder.to_owned())),
        Err(TryLockError::Error(source)) => Err(LocalError::Folder { path, source }),
    }
}

fn s3s_service(store: &Arc<s3::Store>, credentials: &Credentials) -> s3s::service::S3Service {
    let mut builder = S3ServiceBuilder::new(s3::Service(Arc::clone(store)));
    let mut auth = SimpleAuth::new();
    for (key, secret) in credentials.iter() {
        auth.register(key.to_owned(), secret.into());
    }
    builder.set_auth(auth);
    let mut limits = s3s::config::S3Config::default();
    limits.post_object_max_file_size = MAX_FORM_FILE;
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(limits))));
    builder.build()
}

impl Bound {
    /// The address that is listened on, with the port that was taken.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The endpoint URL for clients.
    pub fn url(&self) -> String {
        self.front.state.base_url.clone()
    }

    /// Serves until `shutdown` ends, then closes.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let Self { listener, front, _lock, .. } = self;
        let (state, rds) = (Arc::clone(&front.state), Arc::clone(&front.rds));
        let mut upkeep = JoinSet::new();
        upkeep.spawn(s3::upkeep(Arc::clone(&front.store)));
        upkeep.spawn(sqs::run(Arc::clone(&state)));

        let graceful = GracefulShutdown::new();
        let mut connections = JoinSet::new();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                () = &mut shutdown => break,
                accepted = listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, mostly. Without a pause this would be a busy loop until one is freed.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let _ = stream.set_nodelay(true);
            let front = Arc::clone(&front);
            let reset = Arc::new(AtomicBool::new(false));
            let line = Line::new(stream, Arc::clone(&reset));
            let service = service_fn(move |request| {
                let (front, reset) = (Arc::clone(&front), Arc::clone(&reset));
                async move {
                    let answer = front.handle(request, peer).await;
                    if let Err(Ended { reset: true }) = answer {
                        reset.store(true, Ordering::Relaxed);
                    }
                    answer
                }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(60))
                .serve_connection(TokioIo::new(line), service);
            let connection = graceful.watch(connection);
            connections.spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection ended early");
                }
            });
        }
        drop(listener);
        state.shutdown.cancel();
        let closing = async { tokio::join!(rds.close(), graceful.shutdown()) };
        if tokio::time::timeout(GRACE, closing).await.is_err() {
            tracing::warn!(open = connections.len(), "requests in flight are cut off");
        }
        connections.shutdown().await;
        while upkeep.join_next().await.is_some() {}
    }
}
