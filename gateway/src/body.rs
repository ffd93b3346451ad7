//! Reading request bodies, within a limit.

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use mesh::{Error, error::Reason, route::Route};
use tokio::time::{Instant, timeout_at};
use tower::BoxError;

use crate::answer::Refusal;

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
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|declared| declared > route.body_limit as u64) {
        return Err(Refusal::too_large(route.body_limit));
    }
    if declared.is_some() {
        route.check_media_type(headers)?;
    }
    let read = Limited::new(body, route.body_limit).collect();
    let Ok(read) = timeout_at(deadline, read).await else {
        let error = Error::new(Reason::Timeout, "The body did not arrive in time");
        return Err(Refusal::with_status(error, StatusCode::REQUEST_TIMEOUT));
    };
    let bytes = match read {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
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
