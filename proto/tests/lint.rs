//! The rules of style, checked on the descriptors: what buf's STANDARD rules say, and what
//! this product adds. The protos under `google/` are not ours and are left out.

use std::collections::{HashMap, HashSet};

use prost_reflect::{
    EnumDescriptor, FieldDescriptor, FileDescriptor, MessageDescriptor, MethodDescriptor,
    ServiceDescriptor, prost_types::source_code_info::Location,
};
use proto::annotations::v1::{Access, RateClass, Rest};

/// What is wrong, one line each: `file: thing: problem`.
#[derive(Default)]
struct Report(Vec<String>);

impl Report {
    fn check(&mut self, fine: bool, name: &str, problem: &str) {
        if !fine {
            self.0.push(format!("{name}: {problem}"));
        }
    }

    fn finish(self) {
        assert!(self.0.is_empty(), "\n{}\n", self.0.join("\n"));
    }
}

fn files() -> impl Iterator<Item = FileDescriptor> {
    proto::descriptor_pool()
        .files()
        .filter(|file| file.name().starts_with("objectmesh/"))
}

fn services() -> impl Iterator<Item = ServiceDescriptor> {
    files().flat_map(|file| file.services().collect::<Vec<_>>())
}

fn methods() -> impl Iterator<Item = MethodDescriptor> {
    services().flat_map(|service| service.methods().collect::<Vec<_>>())
}

fn messages() -> Vec<MessageDescriptor> {
    let mut all = Vec::new();
    let mut open: Vec<_> = files()
        .flat_map(|file| file.messages().collect::<Vec<_>>())
        .collect();
    while let Some(message) = open.pop() {
        open.extend(message.child_messages());
        all.push(message);
    }
    all
}

fn enums() -> Vec<EnumDescriptor> {
    let nested = messages()
        .into_iter()
        .flat_map(|m| m.child_enums().collect::<Vec<_>>());
    let top = files().flat_map(|file| file.enums().collect::<Vec<_>>());
    top.chain(nested).collect()
}

/// The comments of a file, by the path of what they stand on.
fn comments(file: &FileDescriptor) -> HashMap<Vec<i32>, String> {
    let info = file.file_descriptor_proto().source_code_info.clone();
    let locations = info.map(|info| info.location).unwrap_or_default();
    locations
        .into_iter()
        .filter(|location: &Location| !location.leading_comments().trim().is_empty())
        .map(|location| {
            let text = location.leading_comments().trim().to_owned();
            (location.path, text)
        })
        .collect()
}

#[test]
fn everything_has_a_comment() {
    let mut report = Report::default();
    for file in files() {
        let comments = comments(&file);
        let mut check = |path: &[i32], name: &str| {
            let comment = comments.get(path);
            report.check(comment.is_some(), name, "has no comment");
            if let Some(comment) = comment {
                let ends = comment.ends_with(['.', ':', '?', '`', ')']);
                report.check(ends, name, "its comment is no sentence");
            }
        };
        for service in file.services() {
            check(service.path(), service.full_name());
            for method in service.methods() {
                check(method.path(), method.full_name());
            }
        }
        let ours = |parent: &FileDescriptor| *parent == file;
        for message in messages().iter().filter(|m| ours(&m.parent_file())) {
            if message.is_map_entry() {
                continue;
            }
            check(message.path(), message.full_name());
            for field in message.fields() {
                check(field.path(), field.full_name());
            }
        }
        for all in enums().iter().filter(|e| ours(&e.parent_file())) {
            check(all.path(), all.full_name());
            for value in all.values() {
                check(value.path(), value.full_name());
            }
        }
        for extension in file.extensions() {
            check(extension.path(), extension.full_name());
        }
    }
    report.finish();
}

#[test]
fn every_rpc_states_exactly_one_access() {
    let access = proto::descriptor_pool()
        .get_extension_by_name("objectmesh.annotations.v1.access")
        .unwrap();
    let mut report = Report::default();
    for method in methods() {
        let options = method.options();
        let stated: Access = options
            .get_extension(&access)
            .as_message()
            .unwrap()
            .transcode_to()
            .unwrap();
        report.check(
            stated.rule.is_some(),
            method.full_name(),
            "states no access",
        );
        use proto::annotations::v1::access::Rule;
        let off = matches!(
            stated.rule,
            Some(Rule::Public(false) | Rule::Authenticated(false) | Rule::Internal(false))
        );
        report.check(!off, method.full_name(), "states an access that is false");
        if let Some(Rule::Permission(key)) = stated.rule {
            report.check(!key.is_empty(), method.full_name(), "names no permission");
        }
    }
    report.finish();
}

#[test]
fn internal_rpcs_and_those_without_http_have_no_route() {
    let pool = proto::descriptor_pool();
    let extension = |name: &str| pool.get_extension_by_name(name).unwrap();
    let http = extension("google.api.http");
    let rest = extension("objectmesh.annotations.v1.rest");
    let access = extension("objectmesh.annotations.v1.access");
    let mut report = Report::default();
    for method in methods() {
        let options = method.options();
        let routed = options.has_extension(&http);
        let stated: Access = options
            .get_extension(&access)
            .as_message()
            .unwrap()
            .transcode_to()
            .unwrap();
        let internal = matches!(
            stated.rule,
            Some(proto::annotations::v1::access::Rule::Internal(_))
        );
        report.check(
            !(internal && routed),
            method.full_name(),
            "is internal and has a route",
        );
        let faced = options.has_extension(&rest);
        let stated: Rest = options
            .get_extension(&rest)
            .as_message()
            .unwrap()
            .transcode_to()
            .unwrap();
        // Deadline and load count for calls without a route as well.
        let bounded = stated.deadline_ms > 0 || stated.rate_class() != RateClass::Unspecified;
        report.check(
            routed || !faced || bounded,
            method.full_name(),
            "has a REST face but no route",
        );
    }
    report.finish();
}

#[test]
fn each_rpc_has_its_own_request_and_response() {
    let mut report = Report::default();
    let mut seen = HashSet::new();
    for method in methods() {
        let package = method.parent_service().package_name().to_owned();
        for (message, suffix) in [(method.input(), "Request"), (method.output(), "Response")] {
            let expected = format!("{package}.{}{suffix}", method.name());
            let body = message.full_name() == "google.api.HttpBody";
            if body {
                continue;
            }
            report.check(
                message.full_name() == expected,
                method.full_name(),
                &format!("takes or gives {}, not {expected}", message.full_name()),
            );
            report.check(
                seen.insert(message.full_name().to_owned()),
                message.full_name(),
                "serves two RPCs",
            );
        }
    }
    report.finish();
}

#[test]
fn services_are_named_and_small() {
    let mut report = Report::default();
    for service in services() {
        let name = service.full_name();
        report.check(name.ends_with("Service"), name, "lacks the suffix Service");
        report.check(service.methods().len() <= 15, name, "has more than 15 RPCs");
        let file = service.parent_file();
        let expected = format!("{}.proto", snake(service.name()));
        report.check(
            file.name().ends_with(&expected),
            name,
            &format!("stands in {}, not in {expected}", file.name()),
        );
    }
    report.finish();
}

#[test]
fn files_stand_where_their_package_says() {
    let mut report = Report::default();
    for file in files() {
        let folder = file.package_name().replace('.', "/");
        let (stands, _) = file.name().rsplit_once('/').unwrap();
        report.check(
            stands == folder,
            file.name(),
            "does not stand in the folder of its package",
        );
        let version = folder.rsplit('/').next().unwrap();
        let versioned = version
            .strip_prefix('v')
            .is_some_and(|n| n.parse::<u32>().is_ok());
        report.check(versioned, file.name(), "its package has no version");
    }
    report.finish();
}

#[test]
fn enums_start_unspecified_and_prefix_their_values() {
    let mut report = Report::default();
    for each in enums() {
        let prefix = format!("{}_", snake(each.name()).to_uppercase());
        let zero = each.get_value(0).map(|value| value.name().to_owned());
        let expected = format!("{prefix}UNSPECIFIED");
        report.check(
            zero.as_deref() == Some(&expected),
            each.full_name(),
            &format!("its zero is not {expected}"),
        );
        for value in each.values() {
            let name = value.name();
            report.check(
                name.starts_with(&prefix),
                name,
                &format!("lacks the prefix {prefix}"),
            );
            let upper = name
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
            report.check(upper, name, "is not UPPER_SNAKE_CASE");
        }
    }
    report.finish();
}

#[test]
fn names_are_in_their_case() {
    let mut report = Report::default();
    let pascal = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_uppercase())
            && name.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    for message in messages().iter().filter(|message| !message.is_map_entry()) {
        report.check(
            pascal(message.name()),
            message.full_name(),
            "is not PascalCase",
        );
        for field in message.fields() {
            report.check(
                is_snake(field.name()),
                field.full_name(),
                "is not snake_case",
            );
        }
        for oneof in message.oneofs().filter(|oneof| !oneof.is_synthetic()) {
            report.check(
                is_snake(oneof.name()),
                oneof.full_name(),
                "is not snake_case",
            );
        }
    }
    for method in methods() {
        report.check(
            pascal(method.name()),
            method.full_name(),
            "is not PascalCase",
        );
    }
    report.finish();
}

#[test]
fn header_names_and_fields_in_options_exist() {
    let rest = proto::descriptor_pool()
        .get_extension_by_name("objectmesh.annotations.v1.rest")
        .unwrap();
    let mut report = Report::default();
    for method in methods() {
        let options = method.options();
        let rest: Rest = options
            .get_extension(&rest)
            .as_message()
            .unwrap()
            .transcode_to()
            .unwrap();
        for header in rest.request_headers.iter().chain(&rest.response_headers) {
            let lower = header
                .name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b == b'-');
            report.check(
                lower,
                method.full_name(),
                &format!("`{}` is no lower case header", header.name),
            );
        }
        for header in &rest.request_headers {
            let field: Option<FieldDescriptor> = method.input().get_field_by_name(&header.value);
            let fine = field.is_some();
            report.check(
                fine,
                method.full_name(),
                &format!("has no field `{}`", header.value),
            );
        }
    }
    report.finish();
}

fn is_snake(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && !name.contains("__")
        && !name.ends_with('_')
}

/// `ErrorReason` → `error_reason`.
fn snake(name: &str) -> String {
    let mut out = String::new();
    for (at, letter) in name.char_indices() {
        if letter.is_ascii_uppercase() && at > 0 {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}
