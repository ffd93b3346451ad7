//! What the README begins with.

use super::pages::Pages;
use crate::tree;

#[test]
fn the_readme_begins_with_two_commands() {
    let readme = Pages::read().readme;
    let commands: Vec<&str> = readme
        .text
        .split("```sh\n")
        .skip(1)
        .take(2)
        .filter_map(|block| block.split("\n```").next())
        .collect();
    assert_eq!(
        commands,
        [
            "cargo run --release --bin objectmesh -- dev",
            "deploy/test.sh"
        ]
    );
    assert!(tree::root().join("deploy/test.sh").is_file());
}

#[test]
fn the_readme_leads_to_every_page() {
    let pages = Pages::read();
    let missing: Vec<String> = pages
        .all()
        .map(|page| page.name.as_str())
        .filter(|name| *name != pages.readme.name)
        .filter(|name| !pages.readme.text.contains(&format!("]({name})")))
        .map(|name| format!("{name}: the README does not link to it"))
        .collect();
    tree::none(&missing);
}
