//! Reading request bodies, within a limit.

use std::{
    pin::{Pin, pin},
    time::Duration,
};

use axum::body::Body;
use bytes::{Buf, Bytes};
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use mesh::{Error, error::Reason, tasks::Tasks};
use tokio::time::{Instant, timeout_at};
use tower::BoxError;
use transcoding::Route;

use crate::response::Refusal;

/// Most bytes of a body that is too large that are read to get the answer through.
const DISCARD_MAX: usize = 64 * 1024 * 1024;
/// Longest that this may take.
const DISCARD_FOR: Duration = Duration::from_secs(5);

/// Reads the body of a request to `route`: first its size and media type are checked, as far as
/// the headers tell them, then it is read.
///
/// # Errors
/// PAYLOAD_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE, TIMEOUT (as 408) when it does not arrive before the
/// deadline, or VALIDATION_ERROR when the client broke off.
pub(crate) async fn read<B>(
    route: &Route,
    headers: &HeaderMap,
    body: B,
    deadline: Instant,
) -> Result<Bytes, Refusal>
where
    B: http_body::Body,
    B::Error: Into<BoxError>,
{
    if !route.takes_body() || body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let declared = declared(headers);
    let mut body = pin!(body);
    if declared.is_some_and(|declared| declared > route.body_limit as u64) {
        discard(body.as_mut(), deadline).await;
        return Err(Refusal::too_large(route.body_limit));
    }
    if declared.is_some() {
        route.check_media_type(headers)?;
    }
    let read = Limited::new(body.as_mut(), route.body_limit).collect();
    let Ok(read) = timeout_at(deadline, read).await else {
        let error = Error::new(Reason::Timeout, "The body did not arrive in time");
        return Err(Refusal::with_status(error, StatusCode::REQUEST_TIMEOUT));
    };
    let bytes = match read {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            discard(body, deadline).await;
            return Err(Refusal::too_large(route.body_limit));
        }
        Err(_) => {
            let error = Error::new(Reason::ValidationError, "The body broke off");
            return Err(Refusal::with_status(error, StatusCode::BAD_REQUEST));
        }
    };
    if declared.is_none() && !bytes.is_empty() {
        route.check_media_type(headers)?;
    }
    Ok(bytes)
}

/// The length that a request gives its body.
pub(crate) fn declared(headers: &HeaderMap) -> Option<u64> {
    let length = headers.get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

/// Reads on and forgets what a client still sends after it was answered, beside all else.
pub(crate) fn discard_beside(tasks: &Tasks, body: Body) {
    tasks.spawn(async move {
        let patience = Instant::now() + DISCARD_FOR;
        discard(pin!(body), patience).await;
    });
}

/// Reads on and forgets, within bounds: a client that is still sending when the connection closes
/// sees a broken pipe instead of the answer.
async fn discard<B>(mut body: Pin<&mut B>, deadline: Instant)
where
    B: http_body::Body,
{
    let patience = deadline.min(Instant::now() + DISCARD_FOR);
    let mut left = DISCARD_MAX;
    while left > 0 {
        match timeout_at(patience, body.frame()).await {
            Ok(Some(Ok(frame))) => {
                let size = frame.data_ref().map_or(0, Buf::remaining);
                left = left.saturating_sub(size);
            }
            Ok(Some(Err(_)) | None) | Err(_) => return,
        }
    }
}
