//! The whole surface at a glance: a change of it shows in the diff of one file.

use std::fmt::Write as _;

use proto::annotations::v1::access::Rule;
use transcoding::{Match, Table};

#[test]
fn the_table_of_routes() {
    let table = Table::from_descriptors().unwrap();
    let mut text = String::new();
    for route in table.routes() {
        let access = match &route.entry.rule {
            Rule::Public(_) => "public".to_owned(),
            Rule::Authenticated(_) => "authenticated".to_owned(),
            Rule::Permission(key) => format!("permission {key}"),
            Rule::Internal(_) => panic!("{route} is internal"),
        };
        let scope = match route.entry.scope.as_str() {
            "" => String::new(),
            scope => format!(", scope {scope}"),
        };
        let built = if route.entry.implemented {
            ""
        } else {
            ", not built"
        };
        let method = route.method.as_str();
        let class = route.rate_class.as_str_name();
        let class = class.trim_start_matches("RATE_CLASS_").to_lowercase();
        writeln!(
            text,
            "{method:6} {}\n       {} → {}, {access}{scope}, rate {class}{}{built}",
            route.pattern,
            route.rpc.as_str().trim_start_matches('/'),
            route.status.as_u16(),
            if route.safe { ", safe" } else { "" },
        )
        .unwrap();
    }
    insta::assert_snapshot!(text);
}

#[test]
fn every_route_leads_to_itself_and_has_a_summary() {
    let table = Table::from_descriptors().unwrap();
    for route in table.routes() {
        let path = route.pattern.replace(['{', '}'], "~");
        for path in [path.clone(), format!("{path}/")] {
            let Match::Found(found, _) = table.find(&route.method, &path) else {
                panic!("{route} is not found at {path}");
            };
            assert_eq!(found.pattern, route.pattern);
        }
        assert!(!route.summary.is_empty(), "{route}");
        assert!(!route.summary.ends_with('.'), "{route}");
        assert!(!route.entry.deadline.is_zero(), "{route}");
    }
}
