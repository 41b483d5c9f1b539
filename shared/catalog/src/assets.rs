//! Assets: reading them, and the changes of state that end them.

use reelfleet_domain::policy::Refusal;
use reelfleet_domain::{AssetState, TaskState};
use reelfleet_messages::{AssetId, JobId, Letter};

use crate::Step;
use crate::budgets;
use crate::costs::{self, Cost, Started};
use crate::details::{self, Visibility};
use crate::error::CatalogError;
use crate::events::{self, Emission};
use crate::statement::{Params, Row, Statement};
use crate::store::{Atomic, Catalog};
use crate::tasks::{self, Lease};

/// An asset's row.
#[derive(Debug, Clone)]
pub struct Asset {
    /// Its id.
    pub id: AssetId,
    /// Whose it is.
    pub tenant: String,
    /// The user who uploaded it.
    pub owner: String,
    /// The upload through the API that it came by.
    pub upload_id: Option<String>,
    /// Source bucket.
    pub bucket: String,
    /// Source key.
    pub key: String,
    /// Source version.
    pub version_id: Option<String>,
    /// Source ETag.
    pub etag: String,
    /// Source bytes.
    pub size: i64,
    /// Its name for people.
    pub name: String,
    /// Where it is on its way.
    pub state: AssetState,
    /// `video`, `audio` or `image`.
    pub media: Option<String>,
    /// What the decoder said of it (JSON).
    pub probe: Option<String>,
    /// Milliseconds.
    pub duration_ms: Option<i64>,
    /// Pixels as shown.
    pub width: Option<i64>,
    /// Pixels as shown.
    pub height: Option<i64>,
    /// Outputs lie under this generation.
    pub generation: i64,
    /// Why it was refused or failed.
    pub reason_code: Option<String>,
    /// The same for a person.
    pub reason_detail: Option<String>,
    /// Grows with every change.
    pub version: i64,
    /// The version that `metadata.json` describes.
    pub described: i64,
    /// What its owner says of it.
    pub description: String,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Who may see it.
    pub visibility: Visibility,
    /// Grows with every edit of name, description, tags and visibility.
    pub edition: i64,
    /// Epoch milliseconds.
    pub landed_at: i64,
    /// Epoch milliseconds.
    pub playable_at: Option<i64>,
    /// Epoch milliseconds.
    pub ready_at: Option<i64>,
    /// Epoch milliseconds.
    pub updated_at: i64,
}

impl Asset {
    /// Of one picture; 0 where that is not known.
    pub fn pixels(&self) -> u64 {
        let side = |side: Option<i64>| side.map_or(0, i64::unsigned_abs);
        side(self.width).saturating_mul(side(self.height))
    }
}

/// Which assets are listed.
#[derive(Debug, Clone, Copy)]
pub struct Listing<'l> {
    /// Whose: a tenant's, …
    pub tenant: &'l str,
    /// … and of it one user's.
    pub owner: Option<&'l str>,
    /// In this order, …
    pub order: Order,
    /// … behind this one's id.
    pub before: Option<&'l str>,
    /// In this state; else all but what is deleted.
    pub state: Option<AssetState>,
    /// With this text in name, description or tags, in any case.
    pub text: Option<&'l str>,
    /// At most so many.
    pub limit: i64,
}

macro_rules! columns {
    () => {
        "id, tenant, owner, upload_id, bucket, object_key, version_id, etag, size, name, state, media, probe, duration_ms, \
         width, height, generation, reason_code, reason_detail, version, described, landed_at, playable_at, ready_at, \
         updated_at, description, tags, visibility, edition"
    };
}
pub(crate) use columns;

/// Where a page ends: a row of the very list, so that a cursor tells nothing of what is not in it.
macro_rules! place {
    ($columns:literal) => {
        concat!(
            "(SELECT ",
            $columns,
            " FROM asset WHERE id = :before AND tenant = :tenant AND (:owner = '' OR owner = :owner))"
        )
    };
}

macro_rules! listing {
    ($behind:expr, $order:literal) => {
        concat!(
            "SELECT ",
            columns!(),
            " FROM asset WHERE tenant = :tenant AND (:owner = '' OR owner = :owner) AND (:before = '' OR ",
            $behind,
            ") AND ((:state = '' AND state NOT IN ('deleting', 'deleted')) OR state = :state) \
             AND (:text = '' OR search LIKE :text ESCAPE '!') ORDER BY ",
            $order,
            " LIMIT :limit"
        )
    };
}

/// In which order assets are listed; what is alike, the newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The newest first.
    #[default]
    Newest,
    /// By name, whatever the case.
    Name,
    /// The longest first; what has no length comes last.
    Longest,
    /// The largest source first.
    Largest,
}

impl Order {
    /// Every order.
    pub const ALL: [Self; 4] = [Self::Newest, Self::Name, Self::Longest, Self::Largest];

    /// As the API names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Name => "name",
            Self::Longest => "longest",
            Self::Largest => "largest",
        }
    }

    fn sql(self) -> &'static str {
        match self {
            Self::Newest => listing!("id < :before", "id DESC"),
            // It begins with the name, in lower case.
            Self::Name => listing!(
                concat!("search > ", place!("search"), " OR (search = ", place!("search"), " AND id < :before)"),
                "search, id DESC"
            ),
            Self::Longest => listing!(
                concat!("(coalesce(duration_ms, -1), id) < ", place!("coalesce(duration_ms, -1), id")),
                "coalesce(duration_ms, -1) DESC, id DESC"
            ),
            Self::Largest => {
                listing!(concat!("(size, id) < ", place!("size, id")), "size DESC, id DESC")
            }
        }
    }
}

/// How an asset's processing ends without a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By policy, or because it is not what we take.
    Refused,
    /// Something went wrong.
    Failed,
}

impl Catalog {
    /// One asset.
    pub async fn asset(&self, id: &AssetId) -> Result<Option<Asset>, CatalogError> {
        let sql = concat!("SELECT ", columns!(), " FROM asset WHERE id = :id");
        self.one_asset(Statement::new(sql).text("id", id.to_string())).await
    }

    /// Whose an asset is: (tenant, owner). It never changes.
    pub async fn owner_of(&self, id: &AssetId) -> Result<Option<(String, String)>, CatalogError> {
        let rows = self
            .read(Statement::new("SELECT tenant, owner FROM asset WHERE id = :id").text("id", id.to_string()))
            .await?;
        rows.first().map(|row| Ok((row.text(0)?, row.text(1)?))).transpose()
    }

    /// The asset of an object.
    pub async fn asset_by_identity(&self, identity: &str) -> Result<Option<Asset>, CatalogError> {
        let sql = concat!("SELECT ", columns!(), " FROM asset WHERE identity = :identity");
        self.one_asset(Statement::new(sql).text("identity", identity)).await
    }

    async fn one_asset(&self, statement: Statement) -> Result<Option<Asset>, CatalogError> {
        self.read(statement).await?.first().map(asset_from).transpose()
    }

    /// Assets of a tenant.
    pub async fn assets(&self, wanted: Listing<'_>) -> Result<Vec<Asset>, CatalogError> {
        let statement = Statement::new(wanted.order.sql())
            .text("tenant", wanted.tenant)
            .text("owner", wanted.owner.unwrap_or_default())
            .text("before", wanted.before.unwrap_or_default())
            .text("state", wanted.state.map_or("", AssetState::as_str))
            .text("text", details::pattern(wanted.text))
            .int("limit", wanted.limit);
        self.read(statement).await?.iter().map(asset_from).collect()
    }

    /// What a request for its outputs needs to know: its state, and whether it is open to strangers.
    pub async fn asset_state(&self, id: &AssetId) -> Result<Option<(AssetState, bool)>, CatalogError> {
        let rows = self
            .read(Statement::new("SELECT state, visibility FROM asset WHERE id = :id").text("id", id.to_string()))
            .await?;
        rows.first()
            .map(|row| {
                let state = row.text(0)?;
                let state = AssetState::parse(&state).ok_or(CatalogError::Column {
                    column: 0,
                    wanted: "an asset's state",
                    found: state,
                })?;
                Ok((state, row.text(1)? != Visibility::Private.as_str()))
            })
            .transpose()
    }

    /// A tenant's assets of one key, the newest version first.
    pub async fn assets_of_key(
        &self,
        tenant: &str,
        bucket: &str,
        key: &str,
        limit: i64,
    ) -> Result<Vec<Asset>, CatalogError> {
        let sql = concat!(
            "SELECT ",
            columns!(),
            " FROM asset WHERE bucket = :bucket AND object_key = :key AND tenant = :tenant ORDER BY id DESC LIMIT :limit"
        );
        let statement =
            Statement::new(sql).text("tenant", tenant).text("bucket", bucket).text("key", key).int("limit", limit);
        self.read(statement).await?.iter().map(asset_from).collect()
    }

    /// All that is kept of a user's assets, the deleted ones too, in the order of their ids, after the given one.
    pub async fn assets_of_owner(
        &self,
        tenant: &str,
        owner: &str,
        after: &str,
        limit: i64,
    ) -> Result<Vec<Asset>, CatalogError> {
        let sql = concat!(
            "SELECT ",
            columns!(),
            " FROM asset WHERE tenant = :tenant AND owner = :owner AND id > :after ORDER BY id LIMIT :limit"
        );
        let statement =
            Statement::new(sql).text("tenant", tenant).text("owner", owner).text("after", after).int("limit", limit);
        self.read(statement).await?.iter().map(asset_from).collect()
    }

    /// Unfinished assets of the same key: a new version ends the older ones.
    pub async fn live_assets_of_key(&self, bucket: &str, key: &str) -> Result<Vec<Asset>, CatalogError> {
        let sql = concat!(
            "SELECT ",
            columns!(),
            " FROM asset WHERE bucket = :bucket AND object_key = :key \
             AND state IN ('uploaded', 'awaiting_approval', 'parked', 'processing', 'playable') ORDER BY id LIMIT 100"
        );
        self.read(Statement::new(sql).text("bucket", bucket).text("key", key)).await?.iter().map(asset_from).collect()
    }

    /// Unfinished assets in the order of their ids, after the given one.
    pub async fn live_assets(&self, after: &str, limit: i64) -> Result<Vec<Asset>, CatalogError> {
        let sql = concat!(
            "SELECT ",
            columns!(),
            " FROM asset WHERE id > :after AND state IN ('uploaded', 'awaiting_approval', 'parked', 'processing', 'playable') ORDER BY id LIMIT :limit"
        );
        self.read(Statement::new(sql).text("after", after).int("limit", limit)).await?.iter().map(asset_from).collect()
    }

    /// Assets whose `metadata.json` is older than they are.
    pub async fn undescribed(&self, limit: i64) -> Result<Vec<AssetId>, CatalogError> {
        let sql = "SELECT id FROM asset WHERE described < version AND state NOT IN ('uploaded', 'deleting', 'deleted') ORDER BY updated_at LIMIT :limit";
        let rows = self.read(Statement::new(sql).int("limit", limit)).await?;
        rows.iter().map(|row| row.parsed(0, "an asset's id")).collect()
    }

    /// Notes that `metadata.json` describes this version.
    pub async fn described(&self, id: &AssetId, version: i64) -> Result<(), CatalogError> {
        self.write(
            Statement::new("UPDATE asset SET described = :version WHERE id = :id AND described < :version")
                .int("version", version)
                .text("id", id.to_string()),
        )
        .await
        .map(drop)
    }

    /// Ends an asset without a result: its job ends, its other tasks are called off. Whoever ends it by a task ends the
    /// task too: as failed with its dead letter, or as done where the asset is refused. All rows that end here keep this
    /// operation's id (the asset in `ended_by`), by which a redrive finds them again.
    pub async fn end_asset(
        &self,
        step: &Step,
        asset: &Asset,
        task: Option<(&Lease, Option<&Letter>)>,
        end: End,
        why: &Refusal,
        emissions: &[Emission],
    ) -> Result<(), CatalogError> {
        let mut statements = Vec::new();
        let settled = match task {
            Some((lease, letter)) => {
                match letter {
                    Some(letter) => statements.extend(tasks::fail(step, lease, letter)?),
                    None => statements.push(tasks::settle(step, lease, TaskState::Done)),
                }
                tasks::settled(step, &lease.envelope.task)
            }
            None => Statement::new("SELECT id FROM asset WHERE id = :id AND op_id = :op")
                .text("id", asset.id.to_string())
                .text("op", &step.op),
        };
        statements.push(
            Statement::new(
                "UPDATE asset SET state = :state, reason_code = :code, reason_detail = :detail, ended_by = :op, version = version + 1, op_id = :op, updated_at = :now \
                 WHERE id = :id AND state IN ('uploaded', 'awaiting_approval', 'parked', 'processing', 'playable')",
            )
            .text("state", if end == End::Refused { "refused" } else { "failed" })
            .text("code", why.code.as_str())
            .text("detail", &why.detail)
            .text("op", &step.op)
            .int("now", step.now)
            .text("id", asset.id.to_string())
            .expect(1),
        );
        statements.push(
            Statement::new(
                "UPDATE job SET state = 'failed', reason_code = :code, updated_at = :now WHERE asset_id = :id AND state IN ('queued', 'running')",
            )
            .text("code", why.code.as_str())
            .int("now", step.now)
            .text("id", asset.id.to_string()),
        );
        statements.push(
            Statement::new("UPDATE task SET state = 'cancelled', op_id = :op, updated_at = :now WHERE asset_id = :id AND state IN ('pending', 'leased')")
                .text("op", &step.op)
                .int("now", step.now)
                .text("id", asset.id.to_string()),
        );
        statements.extend(events::emit(step, emissions));
        self.commit(Atomic { what: "ending an asset", statements, settled }).await
    }

    /// What the probe found, the job's next tasks, and the facts; all in the step of the probing task.
    pub async fn probed(
        &self,
        step: &Step,
        lease: &Lease,
        probed: &Probed<'_>,
        next: &[tasks::NewTask],
        emissions: &[Emission],
    ) -> Result<(), CatalogError> {
        let mut statements = vec![tasks::settle(step, lease, TaskState::Done)];
        let (job, asset) = (lease.envelope.job.to_string(), lease.envelope.work.asset().to_string());
        match probed.cost.map(|cost| &cost.start) {
            Some(Started::Parked(why)) => {
                statements.extend(record_probe(step, lease, probed, AssetState::Uploaded, AssetState::Parked));
                statements.extend(budgets::park(step, &job, &asset, why));
            }
            started => {
                statements.extend(record_probe(step, lease, probed, AssetState::Uploaded, AssetState::Processing));
                if let Some(Started::On(day)) = started {
                    statements.extend(budgets::take(step, &job, *day));
                }
            }
        }
        statements.extend(tasks::insert(step, next));
        statements.extend(events::emit(step, emissions));
        let settled = tasks::settled(step, &lease.envelope.task);
        self.commit(Atomic { what: "recording a probe", statements, settled }).await
    }

    /// What a later look at an asset that is ready found, and what is made anew of it; the asset stays ready.
    pub async fn probed_again(
        &self,
        step: &Step,
        lease: &Lease,
        probed: &Probed<'_>,
        next: &tasks::NewTask,
    ) -> Result<(), CatalogError> {
        let mut statements = vec![tasks::settle(step, lease, TaskState::Done)];
        statements.extend(record_probe(step, lease, probed, AssetState::Ready, AssetState::Ready));
        statements.extend(tasks::insert(step, std::slice::from_ref(next)));
        let settled = tasks::settled(step, &lease.envelope.task);
        self.commit(Atomic { what: "recording another probe", statements, settled }).await
    }

    /// The newest job of an asset: (id, state, percent).
    pub async fn job_of(&self, asset: &AssetId) -> Result<Option<(JobId, String, f64)>, CatalogError> {
        let rows = self
            .read(
                Statement::new(
                    "SELECT id, state, percent FROM job WHERE asset_id = :asset ORDER BY generation DESC LIMIT 1",
                )
                .text("asset", asset.to_string()),
            )
            .await?;
        rows.first().map(|row| Ok((row.parsed(0, "a job's id")?, row.text(1)?, row.float(2)?))).transpose()
    }
}

/// Writes what a probe found and will cost, of an asset that goes on or waits: for a verdict, for a budget.
pub(crate) fn record_probe(
    step: &Step,
    lease: &Lease,
    probed: &Probed<'_>,
    from: AssetState,
    to: AssetState,
) -> Vec<Statement> {
    let recorded = Statement::new(
        "UPDATE asset SET state = :state, media = :media, probe = :probe, duration_ms = :duration, width = :width, height = :height, \
         version = version + 1, op_id = :op, updated_at = :now WHERE id = :id AND state = :from",
    )
    .text("from", from.as_str())
    .text("state", to.as_str())
    .text("media", probed.media)
    .text("probe", probed.report)
    .with(
        Params::new()
            .opt_int("duration", probed.duration_ms)
            .opt_int("width", probed.width)
            .opt_int("height", probed.height),
    )
    .text("op", &step.op)
    .int("now", step.now)
    .text("id", lease.envelope.work.asset().to_string())
    .expect(1);
    let mut statements = vec![recorded];
    statements.extend(costs::used(step, lease));
    statements.extend(probed.cost.map(|cost| costs::estimated(step, lease, cost)));
    statements
}

/// What a probe found, for the asset's row.
#[derive(Debug, Clone, Copy)]
pub struct Probed<'p> {
    /// `video`, `audio` or `image`.
    pub media: &'p str,
    /// The decoder's report (JSON).
    pub report: &'p str,
    /// Milliseconds.
    pub duration_ms: Option<i64>,
    /// Pixels as shown.
    pub width: Option<i64>,
    /// Pixels as shown.
    pub height: Option<i64>,
    /// What its job is expected to cost, and whether it starts.
    pub cost: Option<&'p Cost>,
}

pub(crate) fn asset_from(row: &Row) -> Result<Asset, CatalogError> {
    let state = row.text(10)?;
    Ok(Asset {
        id: row.parsed(0, "an asset's id")?,
        tenant: row.text(1)?,
        owner: row.text(2)?,
        upload_id: row.opt_text(3)?,
        bucket: row.text(4)?,
        key: row.text(5)?,
        version_id: row.opt_text(6)?,
        etag: row.text(7)?,
        size: row.int(8)?,
        name: row.text(9)?,
        state: AssetState::parse(&state).ok_or(CatalogError::Column {
            column: 10,
            wanted: "an asset's state",
            found: state,
        })?,
        media: row.opt_text(11)?,
        probe: row.opt_text(12)?,
        duration_ms: row.opt_int(13)?,
        width: row.opt_int(14)?,
        height: row.opt_int(15)?,
        generation: row.int(16)?,
        reason_code: row.opt_text(17)?,
        reason_detail: row.opt_text(18)?,
        version: row.int(19)?,
        described: row.int(20)?,
        landed_at: row.int(21)?,
        playable_at: row.opt_int(22)?,
        ready_at: row.opt_int(23)?,
        updated_at: row.int(24)?,
        description: row.text(25)?,
        tags: serde_json::from_str(&row.text(26)?).unwrap_or_default(),
        visibility: details::visibility(&row.text(27)?)?,
        edition: row.int(28)?,
    })
}
