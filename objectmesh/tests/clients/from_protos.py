"""A client made from the repository's proto files by grpcio-tools, used on the example app.

    from_protos.py PROTO_FOLDER OUT_FOLDER AUTH_ADDRESS DATA_ADDRESS EMAIL PASSWORD

Generates and compiles a module for every file, then signs up, creates, reads, lists, changes and
deletes over gRPC, and decodes what is refused. Prints how many modules and calls there were.
"""

import compileall
import importlib
import json
import pathlib
import sys

import grpc
from google.protobuf import json_format
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from grpc_tools import protoc

DEADLINE_S = 20
calls = 0


def generate(protos, out):
    """Generates messages and stubs of every proto file; gives the names of the modules."""
    files = sorted(str(file.relative_to(protos)) for file in protos.rglob("*.proto"))
    standard = pathlib.Path(protoc.__file__).parent / "_proto"
    arguments = ["protoc", f"-I{protos}", f"-I{standard}", f"--python_out={out}", f"--pyi_out={out}"]
    failed = protoc.main([*arguments, f"--grpc_python_out={out}", *files])
    assert failed == 0, f"protoc: {failed}"
    assert compileall.compile_dir(out, quiet=1, force=True), "a module does not compile"
    modules = [file.removesuffix(".proto").replace("/", ".") for file in files]
    return [module + ending for module in modules for ending in ("_pb2", "_pb2_grpc")]


def call(method, request, token=None):
    """Calls with the session's token as the credential."""
    global calls
    calls += 1
    metadata = [("authorization", f"Bearer {token}")] if token else []
    return method(request, timeout=DEADLINE_S, metadata=metadata)


def refused(method, request, token=None):
    """The gRPC code, the ErrorInfo and the other details of a call that is refused."""
    try:
        answer = call(method, request, token)
    except grpc.RpcError as error:
        details = rpc_status.from_call(error).details
        info = error_details_pb2.ErrorInfo()
        (packed,) = [detail for detail in details if detail.Is(info.DESCRIPTOR)]
        packed.Unpack(info)
        assert info.domain == "objectmesh", info
        return error.code(), info.reason, details
    raise AssertionError(f"not refused: {answer}")


def body_of(details, errors):
    """The details as REST prints them."""
    body = errors.ErrorBody()
    (packed,) = [detail for detail in details if detail.Is(body.DESCRIPTOR)]
    packed.Unpack(body)
    return json.loads(body.details)


def main(protos, out, auth_address, data_address, email, password):
    names = generate(pathlib.Path(protos), out)
    sys.path.insert(0, out)
    modules = {name: importlib.import_module(name) for name in names}
    http = modules["google.api.annotations_pb2"].http
    auth, auth_stubs = (modules[f"objectmesh.auth.v1.auth_service_{end}"] for end in ("pb2", "pb2_grpc"))
    data, data_stubs = (modules[f"objectmesh.data.v1.record_service_{end}"] for end in ("pb2", "pb2_grpc"))
    errors = modules["objectmesh.errors.v1.error_reason_pb2"]

    # The options came along: the REST face of an RPC can be read from what was generated.
    update = data.DESCRIPTOR.services_by_name["RecordService"].methods_by_name["UpdateRecord"]
    assert update.GetOptions().Extensions[http].patch == "/api/v1/data/{object}/{id}"

    people = auth_stubs.AuthServiceStub(grpc.insecure_channel(auth_address))
    records = data_stubs.RecordServiceStub(grpc.insecure_channel(data_address))
    signed_up = call(people.SignUpEmail, auth.SignUpEmailRequest(name="Ada", email=email, password=password))
    assert signed_up.user.email == email
    token = call(people.SignInEmail, auth.SignInEmailRequest(email=email, password=password)).token

    def create(object_name, fields):
        request = data.CreateRecordRequest(object=object_name, record=json.dumps(fields).encode())
        return call(records.CreateRecord, request, token).record

    customer = create("customer", {"name": "Grüße GmbH", "email": "hello@example.com"})
    ticket = create("support_ticket", {"subject": "By generated code", "customer": customer.id, "satisfaction": 4})
    assert ticket.version == 1
    fields = json_format.MessageToDict(ticket.fields)
    assert fields["subject"] == "By generated code" and fields["status"] == "open", fields

    this = {"object": "support_ticket", "id": ticket.id}
    read = call(records.GetRecord, data.GetRecordRequest(**this, expand="customer"), token).record
    assert read.fields["customer"]["name"] == "Grüße GmbH", read
    where = json.dumps({"subject": {"$eq": "By generated code"}})
    page = call(
        records.ListRecords, data.ListRecordsRequest(object="support_ticket", where=where, limit=5), token
    )
    assert [item.id for item in page.items] == [ticket.id] and page.total == 1, page
    assert not page.HasField("next_cursor")

    patch = json.dumps({"status": "in_progress"}).encode()
    change = data.UpdateRecordRequest(**this, patch=patch, if_match="1")
    changed = call(records.UpdateRecord, change, token).record
    assert changed.version == 2 and changed.fields["status"] == "in_progress", changed

    code, reason, details = refused(records.UpdateRecord, change, token)
    assert (code, reason) == (grpc.StatusCode.ABORTED, "CONCURRENT_UPDATE"), (code, reason)
    assert body_of(details, errors)["currentVersion"] == "2", details
    nonsense = data.UpdateRecordRequest(**this, patch=b'{"status":"asleep","satisfaction":6}')
    code, reason, details = refused(records.UpdateRecord, nonsense, token)
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "VALIDATION_ERROR"), (code, reason)
    bad = error_details_pb2.BadRequest()
    (packed,) = [detail for detail in details if detail.Is(bad.DESCRIPTOR)]
    packed.Unpack(bad)
    assert {violation.field for violation in bad.field_violations} == {"status", "satisfaction"}, bad
    code, reason, _ = refused(records.GetRecord, data.GetRecordRequest(**this))
    assert (code, reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"), (code, reason)

    gone = call(records.DeleteRecord, data.DeleteRecordRequest(**this, if_match="2"), token)
    assert gone.success and gone.id == ticket.id
    code, reason, _ = refused(records.GetRecord, data.GetRecordRequest(**this), token)
    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND"), (code, reason)
    print(json.dumps({"modules": len(modules), "calls": calls}))


if __name__ == "__main__":
    main(*sys.argv[1:])
