//! Following what data-svc tells about rights: each change of them becomes an entry of the feed of
//! revocations. Every replica follows; the position kept in our database lets each change count
//! once, so that no replica has to be the one that does it.

use std::{sync::Arc, time::Duration};

use data_client::changes::{Event, Follower, Following, Objects, SILENCE_MAX};
use mesh::{Error, Link, Result, clock, identity::Purpose};
use proto::{
    data::v1::{ListChangedPrincipalsRequest, principal_service_client::PrincipalServiceClient},
    mesh::v1::{DescribeRequest, describe_service_client::DescribeServiceClient},
};
use tokio::time::{Instant, sleep};
use tonic::Code;

use super::App;
use crate::{
    domain::{
        revocation::Revocation,
        rights::{followed, revoked},
    },
    store::{self, Followed},
};

/// Names under which positions are kept.
const CHANGES: &str = "data-svc changes";
const METADATA: &str = "data-svc metadata";
/// How long data-svc may take to tell what is asked of it.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How often a position at which nothing was revoked is kept.
const KEEP_EVERY: Duration = Duration::from_secs(30);
/// How often the revision of the metadata is asked for.
const METADATA_EVERY: Duration = Duration::from_secs(1);
/// Waits after a failure.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Starts the tasks; they end with the node.
pub(super) fn start(app: &Arc<App>, data: &Link) {
    run(app, data, "changes of rights", |app, data| async move {
        follow_changes(&app, &data).await
    });
    run(
        app,
        data,
        "the metadata's revision",
        |app, data| async move { follow_metadata(&app, &data).await },
    );
}

fn run<F, R>(app: &Arc<App>, data: &Link, what: &'static str, round: F)
where
    F: Fn(Arc<App>, Link) -> R + Send + 'static,
    R: Future<Output = Result<()>> + Send,
{
    let (weak, data, stop) = (Arc::downgrade(app), data.clone(), app.tasks.stop_token());
    app.tasks.spawn(async move {
        let (mut pause, mut failures) = (PAUSE_MIN, 0_u32);
        loop {
            // The task does not keep a node alive that nobody holds any more.
            let Some(app) = weak.upgrade() else { return };
            let began = Instant::now();
            let ended = tokio::select! {
                () = stop.cancelled() => return,
                ended = round(app, data.clone()) => ended,
            };
            if ended.is_ok() || began.elapsed() > SILENCE_MAX {
                (pause, failures) = (PAUSE_MIN, 0);
            }
            if let Err(error) = ended {
                failures += 1;
                // At the start the peers come up in any order.
                if failures == 5 {
                    tracing::warn!(error = %error, "{what} cannot be followed; trying on");
                }
                pause = (pause * 2).min(PAUSE_MAX);
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(pause) => {}
            }
        }
    });
}

/// Follows the changes until the stream ends.
async fn follow_changes(app: &App, data: &Link) -> Result<()> {
    let following = Following {
        // Tokens from before there was anything to follow end within a minute.
        after: store::revocations::followed(&app.store, CHANGES).await?,
        objects: Objects::Only(followed().map(str::to_owned).collect()),
    };
    let mut changes = Follower::open(data, &app.own, following).await?;
    let mut kept_at = None;
    loop {
        let told = match changes.next().await? {
            Event::Changes(told) => told,
            Event::Gone { position } => return start_over(app, position).await,
            Event::Ended => return Ok(()),
        };
        let told = Followed {
            revocations: revoked(&told.changes),
            position: told.position,
            restart: false,
        };
        let due = kept_at.is_none_or(|at: Instant| at.elapsed() >= KEEP_EVERY);
        if due || !told.revocations.is_empty() {
            store::revocations::take_in(&app.store, CHANGES, told, clock::now()).await?;
            kept_at = Some(Instant::now());
        }
    }
}

/// The changes after our position are gone, or data-svc has another database than before:
/// anybody's rights may have changed, once, up to the position that it names.
async fn start_over(app: &App, position: i64) -> Result<()> {
    tracing::warn!(
        position,
        "changes of rights were missed; everybody's are read again"
    );
    let told = Followed {
        revocations: vec![(position, Revocation::Everybody)],
        position,
        restart: true,
    };
    store::revocations::take_in(&app.store, CHANGES, told, clock::now()).await
}

/// Permission sets come with the metadata, so with a revision of it users may have other system
/// permissions: data-svc tells which.
async fn follow_metadata(app: &App, data: &Link) -> Result<()> {
    let revision = metadata_revision(app, data).await?;
    match store::revocations::followed(&app.store, METADATA).await? {
        // Tokens from before there was anything to follow end within a minute.
        None => take_in_revision(app, revision, Vec::new()).await?,
        Some(known) if known < revision => {
            let (revision, changed) = changed_since(app, data, known).await?;
            take_in_revision(app, revision, changed).await?;
        }
        Some(_) => {}
    }
    sleep(METADATA_EVERY).await;
    Ok(())
}

/// The revision of the metadata that data-svc serves.
async fn metadata_revision(app: &App, data: &Link) -> Result<i64> {
    let request = app
        .own
        .request(
            Purpose::FollowChanges,
            ANSWER_MAX,
            DescribeRequest::default(),
        )
        .await?;
    let described = DescribeServiceClient::new(data.clone())
        .describe(request)
        .await
        .map_err(|status| Error::from_status(&status))?;
    Ok(position(described.into_inner().registry_revision))
}

/// Whose rights changed after that revision, and up to which one that is told.
async fn changed_since(app: &App, data: &Link, known: i64) -> Result<(i64, Vec<Revocation>)> {
    let message = ListChangedPrincipalsRequest {
        after_revision: u64::try_from(known).unwrap_or_default(),
    };
    let request = app
        .own
        .request(Purpose::FollowChanges, ANSWER_MAX, message)
        .await?;
    let told = PrincipalServiceClient::new(data.clone())
        .list_changed_principals(request)
        .await;
    match told {
        Ok(told) => {
            let told = told.into_inner();
            let changed = match told.everybody {
                true => vec![Revocation::Everybody],
                false => told
                    .user_ids
                    .into_iter()
                    .map(Revocation::UserRights)
                    .collect(),
            };
            Ok((position(told.revision), changed))
        }
        // A replica of the version before, which cannot tell.
        Err(status) if status.code() == Code::Unimplemented => {
            let revision = metadata_revision(app, data).await?;
            Ok((revision, vec![Revocation::Everybody]))
        }
        Err(status) => Err(Error::from_status(&status)),
    }
}

async fn take_in_revision(app: &App, revision: i64, changed: Vec<Revocation>) -> Result<()> {
    let told = Followed {
        revocations: changed
            .into_iter()
            .map(|revocation| (revision, revocation))
            .collect(),
        position: revision,
        restart: false,
    };
    store::revocations::take_in(&app.store, METADATA, told, clock::now()).await
}

/// A revision as the position that is kept.
fn position(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}
