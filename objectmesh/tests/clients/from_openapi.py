"""A client that openapi-python-client made from an administrator's openapi.json, used on the
example app.

    from_openapi.py FOLDER_OF_THE_PACKAGE ORIGIN EMAIL PASSWORD

The package is called `support_desk`. Every module of it is imported. Prints how many modules and
calls there were.
"""

import compileall
import importlib
import json
import pathlib
import sys

calls = 0


def ask(operation, status=200, **arguments):
    """Calls an operation of the client; gives what was parsed from the answer of that status."""
    global calls
    calls += 1
    answer = operation.sync_detailed(**arguments)
    assert answer.status_code == status, (answer.status_code, answer.content)
    return answer.parsed


def main(folder, origin, email, password):
    package = pathlib.Path(folder) / "support_desk"
    assert compileall.compile_dir(package, quiet=1, force=True), "a module does not compile"
    sys.path.insert(0, folder)
    files = sorted(file.relative_to(folder) for file in package.rglob("*.py"))
    modules = [".".join(file.with_suffix("").parts).removesuffix(".__init__") for file in files]
    for module in modules:
        importlib.import_module(module)

    from support_desk import AuthenticatedClient, Client, models
    from support_desk.api.auth import get_session, sign_in_email
    from support_desk.api.datacustomer import create_record_customer
    from support_desk.api.datasupport_ticket import (
        create_record_support_ticket as create,
        delete_record_support_ticket as delete,
        get_record_support_ticket as get,
        list_records_support_ticket as list_,
        update_record_support_ticket as update,
    )

    credential = models.ObjectmeshAuthV1SignInEmailRequest(email=email, password=password)
    session = ask(sign_in_email, client=Client(base_url=origin), body=credential)
    client = AuthenticatedClient(base_url=origin, token=session.token)
    assert ask(get_session, client=client).user.email == email

    body = models.CustomerCreate(name="Python Ltd", email="python@example.com")
    customer = ask(create_record_customer, 201, client=client, body=body)
    body = models.SupportTicketCreate(
        subject="By a generated client",
        customer=customer.id,
        priority=models.SupportTicketCreatePriority.HIGH,
        tags=["a", "b"],
    )
    ticket = ask(create, 201, client=client, body=body)
    assert ticket.status == models.SupportTicketStatus.OPEN, ticket
    assert (ticket.subject, ticket.tags, ticket.version) == (body.subject, ["a", "b"], 1), ticket

    where = json.dumps({"subject": {"$eq": body.subject}})
    page = ask(list_, client=client, where=where, limit=5)
    assert [item.id for item in page.items] == [ticket.id] and page.total == 1, page
    expanded = ask(get, client=client, id=ticket.id, expand="customer")
    assert expanded.customer.name == "Python Ltd", expanded

    change = models.SupportTicketUpdate(status=models.SupportTicketUpdateStatus.RESOLVED)
    changed = ask(update, client=client, id=ticket.id, body=change, if_match="1")
    assert (changed.status, changed.version) == (models.SupportTicketStatus.RESOLVED, 2), changed
    late = ask(update, 409, client=client, id=ticket.id, body=change, if_match="1")
    assert late.error.code == "CONCURRENT_UPDATE", late
    gone = ask(delete, client=client, id=ticket.id, if_match="2")
    assert gone.success and gone.id == ticket.id, gone
    missing = ask(get, 404, client=client, id=ticket.id)
    assert missing.error.code == "NOT_FOUND", missing
    print(json.dumps({"modules": len(modules), "calls": calls}))


if __name__ == "__main__":
    main(*sys.argv[1:])
