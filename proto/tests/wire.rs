//! Wire compatibility of what is built: once an RPC answers, its fields keep number, type and JSON
//! name, and nothing of it goes away. `wire.txt` holds what clients may rely on; what is new is added
//! to it by `UPDATE_WIRE=1 cargo test -p proto --test wire`, and nothing else ever changes it.

use std::{
    collections::{BTreeSet, HashSet},
    env, fs,
    path::Path,
};

use prost_reflect::{EnumDescriptor, Kind, MessageDescriptor, MethodDescriptor};
use proto::annotations::v1::Rest;

/// What clients may rely on, a line each.
#[derive(Default)]
struct Wire {
    lines: BTreeSet<String>,
    seen: HashSet<String>,
}

impl Wire {
    fn method(&mut self, method: &MethodDescriptor) {
        let stream = |on| if on { "stream " } else { "" };
        self.lines.insert(format!(
            "rpc {} ({}{}) -> {}{}",
            method.full_name(),
            stream(method.is_client_streaming()),
            method.input().full_name(),
            stream(method.is_server_streaming()),
            method.output().full_name(),
        ));
        self.message(&method.input());
        self.message(&method.output());
    }

    fn message(&mut self, message: &MessageDescriptor) {
        if !self.seen.insert(message.full_name().to_owned()) {
            return;
        }
        for field in message.fields() {
            let kind = match field.kind() {
                Kind::Message(inner) => {
                    self.message(&inner);
                    inner.full_name().to_owned()
                }
                Kind::Enum(inner) => {
                    self.values(&inner);
                    inner.full_name().to_owned()
                }
                scalar => format!("{scalar:?}").to_lowercase(),
            };
            let many = if field.is_list() { "repeated " } else { "" };
            self.lines.insert(format!(
                "field {} {} = {many}{kind} {}",
                message.full_name(),
                field.number(),
                field.json_name(),
            ));
        }
    }

    fn values(&mut self, all: &EnumDescriptor) {
        for value in all.values() {
            self.lines.insert(format!(
                "value {} {} = {}",
                all.full_name(),
                value.number(),
                value.name()
            ));
        }
    }
}

fn is_built(method: &MethodDescriptor) -> bool {
    let pool = proto::descriptor_pool();
    let rest = pool
        .get_extension_by_name("objectmesh.annotations.v1.rest")
        .expect("the option");
    let options = method.options();
    let rest = options.get_extension(&rest);
    let rest: Rest = rest
        .as_message()
        .expect("a message")
        .transcode_to()
        .expect("its type");
    !rest.not_implemented
}

#[test]
fn what_is_built_stays_on_the_wire() {
    let mut wire = Wire::default();
    let services = proto::descriptor_pool()
        .services()
        .filter(|service| service.full_name().starts_with("objectmesh."));
    for service in services {
        for method in service.methods().filter(is_built) {
            wire.method(&method);
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire.txt");
    let relied_on = fs::read_to_string(&path).unwrap_or_default();
    let relied_on: BTreeSet<String> = relied_on.lines().map(str::to_owned).collect();
    let gone: Vec<_> = relied_on.difference(&wire.lines).collect();
    assert!(gone.is_empty(), "clients rely on what is gone: {gone:#?}");
    if env::var_os("UPDATE_WIRE").is_some() {
        let text: Vec<_> = wire.lines.iter().map(String::as_str).collect();
        fs::write(&path, text.join("\n") + "\n").expect("a file");
        return;
    }
    let new: Vec<_> = wire.lines.difference(&relied_on).collect();
    assert!(
        new.is_empty(),
        "new on the wire, add it with UPDATE_WIRE=1: {new:#?}"
    );
}
