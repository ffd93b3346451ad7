//! What the pool and its workers say to each other: JSON behind its length in four bytes.
//!
//! Worker: `Ready`; then for each `Run` it is sent: `Started`, any of `Log` and `Call`, `Done`, and
//! `Ready` again once nothing of the run is left. It makes one call at a time and waits for the
//! `Answer`, so that no pipe fills while the other side writes.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{
    call::HostError,
    run::{Kind, Limits, LogLine, Thrown},
};

/// The argument that makes a program a worker.
pub(crate) const ARGUMENT: &str = "__script-worker";
/// Both sides must be of one build.
pub(crate) const VERSION: u32 = 1;
/// Longest message either side takes.
pub(crate) const FRAME_MAX: usize = 64 << 20;
/// Most lines of a log.
pub(crate) const LOG_LINES_MAX: usize = 200;
/// Longest line of a log, in bytes.
pub(crate) const LOG_LINE_MAX: usize = 4096;

/// To the worker.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum ToWorker {
    Run(Box<Job>),
    Answer(Result<Box<RawValue>, HostError>),
}

/// A run for a worker.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Job {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) source: String,
    /// [`crate::Context`], as the script's engine will parse it.
    pub(crate) context: Box<RawValue>,
    pub(crate) limits: Limits,
    pub(crate) log: bool,
    pub(crate) uuid: bool,
}

/// From the worker.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum FromWorker {
    Ready { version: u32 },
    Started,
    Log(LogLine),
    Call(Box<RawValue>),
    Done { cpu_ns: u64, end: End },
}

/// How a run ended within the worker.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum End {
    Returned {
        /// Null also where nothing was returned.
        value: Box<RawValue>,
        nothing: bool,
        input: Box<RawValue>,
    },
    Thrown(Thrown),
    Syntax {
        message: String,
        line: u32,
    },
    CpuTime,
    OutOfMemory,
    NeverResolved,
    OutputTooLong,
}

fn malformed(problem: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem.to_string())
}

fn length(bytes: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_le_bytes(bytes) as usize;
    if length > FRAME_MAX {
        return Err(malformed(format!("a message of {length} bytes")));
    }
    Ok(length)
}

fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message).map_err(malformed)?;
    let size = frame.len() - 4;
    if size > FRAME_MAX {
        return Err(malformed(format!("a message of {size} bytes")));
    }
    let prefix = u32::try_from(size).map_err(malformed)?.to_le_bytes();
    frame[..4].copy_from_slice(&prefix);
    Ok(frame)
}

/// Reads a message; nothing at the end of the stream.
pub(crate) fn read<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut prefix = [0; 4];
    match from.read_exact(&mut prefix) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut body = vec![0; length(prefix)?];
    from.read_exact(&mut body)?;
    serde_json::from_slice(&body).map(Some).map_err(malformed)
}

/// Writes a message.
pub(crate) fn write<T: Serialize>(to: &mut impl Write, message: &T) -> io::Result<()> {
    to.write_all(&encode(message)?)?;
    to.flush()
}

/// Reads a message; the end of the stream is an error.
pub(crate) async fn receive<T: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
) -> io::Result<T> {
    let mut prefix = [0; 4];
    from.read_exact(&mut prefix).await?;
    let mut body = vec![0; length(prefix)?];
    from.read_exact(&mut body).await?;
    serde_json::from_slice(&body).map_err(malformed)
}

/// Writes a message.
pub(crate) async fn send<T: Serialize + Sync>(
    to: &mut (impl AsyncWrite + Unpin),
    message: &T,
) -> io::Result<()> {
    to.write_all(&encode(message)?).await?;
    to.flush().await
}
