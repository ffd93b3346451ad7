//! The gRPC call that the pages show.

use mesh::{Link, ctx::set_bearer};
use proto::data::v1::{
    ListRecordsRequest, ListRecordsResponse, record_service_client::RecordServiceClient,
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

#[test]
fn the_rust_that_is_shown_is_what_runs_here() {
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().concat();
    let here = squeeze(include_str!("grpc.rs"));
    let pages = Pages::read();
    let mut shown = 0;
    for page in std::iter::once(&pages.readme).chain(&pages.guide) {
        for block in page.text.split("```rust\n").skip(1) {
            let (block, _) = block.split_once("```").expect("its end");
            assert!(here.contains(&squeeze(block)), "{}: {block}", page.name);
            shown += 1;
        }
    }
    assert!(shown > 0, "no page shows Rust");
}
