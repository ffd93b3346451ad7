"""Reads a record over gRPC with nothing but grpcio and reflection: no generated code.

    read_record.py AUTH_ADDRESS DATA_ADDRESS EMAIL PASSWORD OBJECT ID

Prints one JSON document: the services found, the record's id and version, and its fields.
"""

import json
import sys

import grpc
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

DEADLINE_S = 20


class Peer:
    """A server whose services are discovered at run time."""

    def __init__(self, address):
        self.channel = grpc.insecure_channel(address)
        self.database = ProtoReflectionDescriptorDatabase(self.channel)
        self.pool = DescriptorPool(self.database)

    def call(self, service, method, request, metadata=()):
        found = self.pool.FindServiceByName(service).FindMethodByName(method)
        message = json_format.ParseDict(request, message_factory.GetMessageClass(found.input_type)())
        answer = message_factory.GetMessageClass(found.output_type)
        stub = self.channel.unary_unary(
            f"/{service}/{method}",
            request_serializer=lambda sent: sent.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        return stub(message, timeout=DEADLINE_S, metadata=metadata)


def main(auth_address, data_address, email, password, object_name, record_id):
    auth, data = Peer(auth_address), Peer(data_address)
    session = auth.call(
        "objectmesh.auth.v1.AuthService",
        "SignInEmail",
        {"email": email, "password": password},
    )
    record = data.call(
        "objectmesh.data.v1.RecordService",
        "GetRecord",
        {"object": object_name, "id": record_id},
        metadata=[("authorization", f"Bearer {session.token}")],
    ).record
    print(
        json.dumps(
            {
                "services": sorted(data.database.get_services()),
                "kind": record.fields.DESCRIPTOR.full_name,
                "id": record.id,
                "version": record.version,
                "fields": json_format.MessageToDict(record.fields),
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
