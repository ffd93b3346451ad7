//! The gRPC calls that the pages show.

use mesh::{Link, ctx::set_bearer};
use proto::data::v1::{
    GetRecordRequest, ListRecordsRequest, ListRecordsResponse,
    record_service_client::RecordServiceClient,
};
use tonic::Request;

use super::pages::Pages;

// The pages show the body of this function as it stands here.
pub(crate) async fn call(address: &str, token: &str) -> anyhow::Result<ListRecordsResponse> {
    let link = Link::connect(address)?; // "http://127.0.0.1:7402", or what `dev` printed
    let mut request = Request::new(ListRecordsRequest {
        object: "support_ticket".to_owned(),
        r#where: r#"{"status":{"$eq":"open"}}"#.to_owned(),
        ..ListRecordsRequest::default()
    });
    set_bearer(&mut request, token);
    let page = RecordServiceClient::new(link)
        .list_records(request)
        .await?
        .into_inner();
    Ok(page)
}

/// Reads a record that is not there; gives the reason of the refusal, and what it says more closely.
pub(crate) async fn refused(address: &str, token: &str) -> Option<(String, String)> {
    let mut records = RecordServiceClient::new(Link::connect(address).ok()?);
    let mut request = Request::new(GetRecordRequest {
        object: "support_ticket".to_owned(),
        id: "01HZZZZZZZZZZZZZZZZZZZZZZZ".to_owned(),
        ..GetRecordRequest::default()
    });
    set_bearer(&mut request, token);
    // As docs/reference/errors.md shows it.
    use tonic_types::StatusExt as _;

    let Err(status) = records.get_record(request).await else {
        return None;
    };
    let info = status.get_details_error_info()?;
    // NOT_FOUND and RECORD_NOT_FOUND
    Some((info.reason, info.metadata.get("reason")?.clone()))
}

#[test]
fn the_rust_that_is_shown_is_what_runs_here() {
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().concat();
    let here = squeeze(include_str!("grpc.rs"));
    let pages = Pages::read();
    let mut shown = 0;
    let all = std::iter::once(&pages.readme).chain(&pages.guide);
    for page in all.chain(&pages.reference) {
        for block in page.text.split("```rust\n").skip(1) {
            let (block, _) = block.split_once("```").expect("its end");
            assert!(here.contains(&squeeze(block)), "{}: {block}", page.name);
            shown += 1;
        }
    }
    assert!(shown > 1, "no page shows Rust");
}
