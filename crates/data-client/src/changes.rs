//! Following what is written to records: data-svc's `ChangeService`, in the order of commits.
//!
//! Where a follower stands is its own business: it keeps the position of the last message that it has
//! taken in, and begins there again whenever the stream ends, fails, or other objects are to be
//! followed.
//!
//! Invariant: a follower that is told nothing for [`SILENCE_MAX`] is told so; no stream hangs for ever.

use std::time::Duration;

use bytes::Bytes;
use mesh::{
    Error, Link, Result, identity::Purpose, node::MESSAGE_MAX, service_identity::ServiceIdentity,
};
use proto::data::v1::{
    self as pb, WatchChangesRequest, WatchChangesResponse,
    change_service_client::ChangeServiceClient,
};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::{Code, Status, Streaming};

/// How long opening the stream may take.
const OPENING_MAX: Duration = Duration::from_secs(5);
/// data-svc says something every five seconds; silence for so long means that it is gone.
pub const SILENCE_MAX: Duration = Duration::from_secs(15);
/// No object has this name: it is followed where none is, so that the position moves on.
const NO_OBJECT: &str = "-";

/// Where to begin, and what to follow.
#[derive(Clone, Debug)]
pub struct Following {
    /// The position of the last message that was taken in; none begins with what is committed from
    /// now on.
    pub after: Option<i64>,
    /// The objects whose changes are told.
    pub objects: Objects,
}

/// Which changes are told; positions move over all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Objects {
    /// Those of every object.
    All,
    /// Those of these objects; with none of them only positions are told.
    Only(Vec<String>),
}

/// What a follower is told.
#[derive(Debug)]
pub enum Event {
    /// Changes, in order, and the position up to which everything has been told.
    Changes(ChangeBatch),
    /// The changes after our position are no longer kept, or data-svc has another database than
    /// before. What was missed cannot be told: read a snapshot where it matters, then go on after
    /// this position, which may lie before ours.
    Gone {
        /// The position to go on after.
        position: i64,
    },
    /// The stream ended, as it does at least every 30 minutes; go on from the last position.
    Ended,
}

/// A message of the stream.
#[derive(Debug, Default)]
pub struct ChangeBatch {
    /// None when this only tells the position.
    pub changes: Vec<Change>,
    /// Everything up to here has been told.
    pub position: i64,
}

/// One committed write of one record.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Its place in the order of commits, from 1.
    pub position: i64,
    /// The object.
    pub object: String,
    /// Id of the record.
    pub record_id: String,
    /// What was done.
    pub operation: Operation,
    /// Version of the record after the write; before it for a delete.
    pub record_version: i64,
    /// Who wrote; none for the platform itself.
    pub user_id: Option<String>,
    /// Id of the request that wrote.
    pub request_id: String,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// The record before, as JSON text; empty for a create. Secret fields are left out.
    pub before: Bytes,
    /// The record after, as JSON text; empty for a delete. Secret fields are left out.
    pub after: Bytes,
}

/// What was done to a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Operation {
    /// It was created.
    Create,
    /// It was changed.
    Update,
    /// It was deleted.
    Delete,
    /// Something that a newer data-svc has a word for.
    #[default]
    Unknown,
}

/// A stream of changes.
pub struct Follower {
    source: Source,
    heard_at: Instant,
}

enum Source {
    Open(Box<Streaming<WatchChangesResponse>>),
    /// Refused at the opening; told first.
    Gone(i64),
    Over,
}

impl Follower {
    /// Opens a stream of changes.
    ///
    /// # Errors
    /// SERVICE_UNAVAILABLE when data-svc does not answer in time; its other refusals, but that a
    /// position is gone: that is the first event.
    pub async fn open(data: &Link, own: &ServiceIdentity, following: Following) -> Result<Self> {
        let objects = match following.objects {
            Objects::All => Vec::new(),
            Objects::Only(objects) if objects.is_empty() => vec![NO_OBJECT.to_owned()],
            Objects::Only(objects) => objects,
        };
        let message = WatchChangesRequest {
            after_position: following.after.unwrap_or_default(),
            objects,
            from_now: following.after.is_none(),
        };
        let request = own.stream_request(Purpose::FollowChanges, message).await?;
        let mut client =
            ChangeServiceClient::new(data.clone()).max_decoding_message_size(MESSAGE_MAX);
        let opened = timeout(OPENING_MAX, client.watch_changes(request)).await;
        let source = match opened.map_err(|_| silent())? {
            Ok(answer) => Source::Open(Box::new(answer.into_inner())),
            Err(status) => Source::Gone(gone(&status)?),
        };
        Ok(Self {
            source,
            heard_at: Instant::now(),
        })
    }

    /// The next event. Nothing is lost when this is dropped before it resolves. After
    /// [`Event::Gone`] and [`Event::Ended`] there is nothing but the end.
    ///
    /// # Errors
    /// SERVICE_UNAVAILABLE when data-svc fell silent; its other refusals.
    pub async fn next(&mut self) -> Result<Event> {
        let stream = match &mut self.source {
            Source::Open(stream) => stream,
            Source::Gone(position) => {
                let position = *position;
                self.source = Source::Over;
                return Ok(Event::Gone { position });
            }
            Source::Over => return Ok(Event::Ended),
        };
        let told = timeout_at(self.heard_at + SILENCE_MAX, stream.message()).await;
        self.heard_at = Instant::now();
        let told = told.map_err(|_| silent())?;
        if !matches!(told, Ok(Some(_))) {
            self.source = Source::Over;
        }
        match told {
            Ok(Some(told)) => Ok(Event::Changes(read(told))),
            Ok(None) => Ok(Event::Ended),
            Err(status) => Ok(Event::Gone {
                position: gone(&status)?,
            }),
        }
    }
}

impl Change {
    /// The record before; none for a create.
    ///
    /// # Errors
    /// When it is not what is expected.
    pub fn before<T: DeserializeOwned>(&self) -> serde_json::Result<Option<T>> {
        parse(&self.before)
    }

    /// The record after; none for a delete.
    ///
    /// # Errors
    /// When it is not what is expected.
    pub fn after<T: DeserializeOwned>(&self) -> serde_json::Result<Option<T>> {
        parse(&self.after)
    }
}

impl Operation {
    fn parse(word: &str) -> Self {
        match word {
            "create" => Self::Create,
            "update" => Self::Update,
            "delete" => Self::Delete,
            _ => Self::Unknown,
        }
    }
}

fn parse<T: DeserializeOwned>(json: &[u8]) -> serde_json::Result<Option<T>> {
    match json {
        [] => Ok(None),
        json => serde_json::from_slice(json).map(Some),
    }
}

fn read(told: WatchChangesResponse) -> ChangeBatch {
    let changes = told.changes.into_iter().map(|change| {
        let pb::Change {
            position,
            object,
            record_id,
            operation,
            record_version,
            before,
            after,
            user_id,
            request_id,
            at_ms,
        } = change;
        Change {
            position,
            object,
            record_id,
            operation: Operation::parse(&operation),
            record_version,
            user_id: Some(user_id).filter(|id| !id.is_empty()),
            request_id,
            at_ms,
            before,
            after,
        }
    });
    ChangeBatch {
        changes: changes.collect(),
        position: told.position,
    }
}

/// The position that a refusal names because ours is gone.
///
/// # Errors
/// Every other refusal.
fn gone(status: &Status) -> Result<i64> {
    let error = Error::from_status(status);
    if status.code() != Code::OutOfRange {
        return Err(error);
    }
    let position = error.detail("position").and_then(|position| {
        // As a number in our own details, as text where only the standard ones came across.
        let number = position.as_i64();
        number.or_else(|| position.as_str()?.parse().ok())
    });
    position.ok_or(error)
}

fn silent() -> Error {
    Error::unavailable("The service that tells changes of records")
}
