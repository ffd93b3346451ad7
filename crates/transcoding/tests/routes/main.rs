//! The whole surface at a glance: a change of it shows in the diff of one file. Beside it, what the options
//! do that no route of the product uses yet, and that wrong ones keep a process from starting.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, which clippy does not take for tests"
)]

mod contract;
mod options;
mod wrong;

use std::fmt::Write as _;

use proto::annotations::v1::access::Rule;
use transcoding::{Match, Route, Table};

/// Every route of a table, in two or three lines.
fn shown(table: &Table) -> String {
    let mut text = String::new();
    for route in table.routes() {
        show(&mut text, route);
    }
    for name in table.profiles() {
        let profile = table.profile(name).unwrap();
        writeln!(text, "\nunder /compat/{name}, beside the above").unwrap();
        let native = |route: &&Route| {
            let mut others = table.routes().iter();
            route.is_framed() || !others.any(|other| other.to_string() == route.to_string())
        };
        for route in profile.routes().iter().filter(native) {
            let rpc = route.rpc.as_str().trim_start_matches('/');
            let body = if route.is_framed() {
                ", body of the profile"
            } else {
                ""
            };
            writeln!(
                text,
                "{:6} {}\n       {rpc}{body}",
                route.method.as_str(),
                route.pattern
            )
            .unwrap();
        }
    }
    text
}

fn show(text: &mut String, route: &Route) {
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
    let mut options = Vec::new();
    if route.upload.is_some() {
        let limit = route.body_limit;
        let silence = route.entry.deadline.as_millis();
        options.push(format!(
            "takes a raw body of {limit} bytes, silence {silence} ms"
        ));
    }
    let events = route.stream.as_ref().map(|form| form.summary());
    options.extend(events.filter(|events| !events.is_empty()));
    let challenge = route.challenge.as_ref();
    options.extend(challenge.map(|challenge| format!("401 says {}", challenge.as_str())));
    if !options.is_empty() {
        writeln!(text, "       {}", options.join("; ")).unwrap();
    }
}

#[test]
fn the_table_of_routes() {
    let table = Table::from_descriptors().unwrap();
    insta::assert_snapshot!(shown(&table));
}

#[test]
fn every_route_leads_to_itself_and_has_a_summary() {
    let table = Table::from_descriptors().unwrap();
    let probe = Table::from_pool(&contract::probe()).unwrap();
    let profiles = probe.profiles().map(|name| probe.profile(name).unwrap());
    for table in [&table, &probe].into_iter().chain(profiles) {
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
}
