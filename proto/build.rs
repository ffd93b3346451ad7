//! Compiles the contract: messages, clients and servers, the descriptor set with our options, and
//! the table of error codes. No protoc needed.

use std::{env, error::Error, fmt::Write as _, fs, path::PathBuf};

use prost_reflect::{DescriptorPool, Value};

const FILES: &[&str] = &[
    "objectmesh/ai/v1/chat_service.proto",
    "objectmesh/ai/v1/conversation_service.proto",
    "objectmesh/ai/v1/pending_action_service.proto",
    "objectmesh/annotations/v1/annotations.proto",
    "objectmesh/auth/v1/api_key_service.proto",
    "objectmesh/auth/v1/auth_service.proto",
    "objectmesh/auth/v1/identity_service.proto",
    "objectmesh/auth/v1/revocation_service.proto",
    "objectmesh/auth/v1/user_admin_service.proto",
    "objectmesh/data/v1/change_service.proto",
    "objectmesh/data/v1/export_service.proto",
    "objectmesh/data/v1/form_service.proto",
    "objectmesh/data/v1/import_service.proto",
    "objectmesh/data/v1/lead_service.proto",
    "objectmesh/data/v1/metadata_service.proto",
    "objectmesh/data/v1/metadata_overlay_service.proto",
    "objectmesh/data/v1/principal_service.proto",
    "objectmesh/data/v1/record_service.proto",
    "objectmesh/data/v1/record_share_service.proto",
    "objectmesh/data/v1/registry_service.proto",
    "objectmesh/data/v1/report_service.proto",
    "objectmesh/data/v1/search_service.proto",
    "objectmesh/data/v1/sharing_rule_service.proto",
    "objectmesh/errors/v1/error_reason.proto",
    "objectmesh/flow/v1/action_service.proto",
    "objectmesh/flow/v1/approval_service.proto",
    "objectmesh/flow/v1/email_service.proto",
    "objectmesh/flow/v1/flow_service.proto",
    "objectmesh/flow/v1/report_schedule_service.proto",
    "objectmesh/mesh/v1/describe_service.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=objectmesh");
    println!("cargo::rerun-if-changed=google");
    let out = PathBuf::from(env::var("OUT_DIR")?);

    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(FILES)?;
    // The typed set drops options it does not know: only these bytes keep ours.
    fs::write(
        out.join("descriptors.bin"),
        compiler.encode_file_descriptor_set(),
    )?;
    fs::write(
        out.join("error_codes.rs"),
        error_codes(&compiler.descriptor_pool())?,
    )?;

    // Ours stand in modules of other depths than their packages, so what they use of Google's is
    // named from the root.
    let (mut google, mut ours) = (
        compiler.file_descriptor_set(),
        compiler.file_descriptor_set(),
    );
    google.file.retain(|file| file.package() == "google.api");
    ours.file.retain(|file| file.package() != "google.api");
    tonic_prost_build::configure()
        .bytes(".")
        .compile_fds(google)?;
    tonic_prost_build::configure()
        .bytes(".")
        .extern_path(".google.protobuf.Timestamp", "::prost_types::Timestamp")
        .extern_path(".google.api", "crate::google::api")
        .compile_fds(ours)?;
    Ok(())
}

/// Writes the codes of every error reason as Rust matches, so that the proto stays their only source.
fn error_codes(pool: &DescriptorPool) -> Result<String, Box<dyn Error>> {
    let option = pool
        .get_extension_by_name("objectmesh.annotations.v1.error")
        .ok_or("annotations.proto declares no `error` option")?;
    let reasons = pool
        .get_enum_by_name("objectmesh.errors.v1.ErrorReason")
        .ok_or("error_reason.proto declares no ErrorReason")?;
    let (mut grpc, mut http, mut rest) = (String::new(), String::new(), String::new());
    for value in reasons.values() {
        let options = value.options();
        let code = options.get_extension(&option);
        let code = code.as_message().ok_or("`error` is a message")?;
        let number = |field: &str| match code.get_field_by_name(field).as_deref() {
            Some(Value::U32(n)) if *n > 0 => Ok(*n),
            _ => Err(format!("{} states no {field} code", value.name())),
        };
        let variant = variant(value.name());
        writeln!(grpc, "            Self::{variant} => {},", number("grpc")?)?;
        writeln!(http, "            Self::{variant} => {},", number("http")?)?;
        match code.get_field_by_name("rest_code").as_deref() {
            Some(Value::String(word)) if !word.is_empty() => {
                writeln!(rest, "            Self::{variant} => {word:?},")?;
            }
            _ => {}
        }
    }
    Ok(format!(
        "impl ErrorReason {{
    /// The gRPC status code (google.rpc.Code) of this reason.
    #[must_use]
    pub fn grpc_code(self) -> i32 {{
        match self {{\n{grpc}        }}
    }}
    /// The HTTP status of this reason.
    #[must_use]
    pub fn http_status(self) -> u16 {{
        match self {{\n{http}        }}
    }}
    /// The `code` that REST prints: the reason, or the coarser word of the contract.
    #[must_use]
    pub fn rest_code(self) -> &'static str {{
        match self {{\n{rest}            _ => self.as_wire(),
        }}
    }}
}}\n"
    ))
}

/// `ERROR_REASON_NOT_FOUND` → `NotFound`, as prost names it.
fn variant(name: &str) -> String {
    name.trim_start_matches("ERROR_REASON_")
        .split('_')
        .map(|word| {
            let (first, rest) = word.split_at(1);
            format!("{first}{}", rest.to_lowercase())
        })
        .collect()
}
