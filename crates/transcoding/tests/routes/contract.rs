//! Contracts of tests, compiled when they run.

use prost_reflect::DescriptorPool;
use protox::{
    Compiler,
    file::{ChainFileResolver, File, FileResolver, IncludeFileResolver},
};

/// The contract that uses every option.
pub(crate) fn probe() -> DescriptorPool {
    let root = env!("CARGO_MANIFEST_DIR");
    let includes = [
        format!("{root}/../../proto"),
        format!("{root}/tests/protos"),
    ];
    let mut compiler = Compiler::new(includes).unwrap();
    compiler.include_imports(true).include_source_info(true);
    let file = "objectmesh/data/probe/v1/probe_service.proto";
    compiler.open_file(file).unwrap();
    compiler.descriptor_pool()
}

/// A contract of one service with one RPC, which is written out, and the messages beside it.
pub(crate) fn of(rpc: &str, messages: &str) -> DescriptorPool {
    let text = format!(
        "syntax = \"proto3\"; package objectmesh.data.test.v1; \
         import \"google/api/annotations.proto\"; import \"google/api/httpbody.proto\"; \
         import \"objectmesh/annotations/v1/annotations.proto\"; \
         service TestService {{ {rpc} }} {messages}"
    );
    let mut resolver = ChainFileResolver::new();
    resolver.add(Written(text));
    resolver.add(IncludeFileResolver::new(
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../proto").into(),
    ));
    resolver.add(protox::file::GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.include_imports(true);
    compiler.open_file("test.proto").unwrap();
    compiler.descriptor_pool()
}

/// The file `test.proto`.
struct Written(String);

impl FileResolver for Written {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match name {
            "test.proto" => File::from_source(name, &self.0),
            _ => Err(protox::Error::file_not_found(name)),
        }
    }
}
