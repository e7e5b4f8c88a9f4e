"""What a REGISTER does to the bindings of its AOR, slowly and plainly: what sipcore/registration is held to."""

from sipcore.location import LIMITS, contact_key

CONTACT, CALL_ID, CSEQ, EXPIRES_MS = 0, 1, 2, 4  # the places of a put (wire.PUT_FIELDS)
OUT_OF_ORDER = (500, b"Request Out Of Order")
TOO_MANY = (503, b"Too Many Contacts")
TOO_LONG = (400, b"Contact Too Long")


def evaluate(op, before, max_contacts, remember_ms, now_ms):
    """(puts, removes, known_until_ms, the puts that are bound afterwards), or a refusal's status and phrase.

    op: as in wire.OPS. before: the puts of its AOR as they stand.
    """
    _, aor, call_id, cseq, star, contacts, flow, path, agent = op
    if not 0 < len(aor) <= LIMITS["aor"] or len(call_id) > LIMITS["call_id"] or len(path) > 2048:
        return TOO_LONG
    # a binding that has expired counts for nothing, neither its CSeq nor its place
    existing = {contact_key(put[CONTACT]): put for put in before if put[EXPIRES_MS] > now_ms}
    result = dict(existing)
    if star:
        if any(put[CALL_ID] == call_id and put[CSEQ] >= cseq for put in existing.values()):
            return OUT_OF_ORDER
        result = {}
    for uri, expires_s, q, instance, _ in [] if star else contacts:
        if not 0 < len(uri) <= LIMITS["contact"] or len(instance) > 256:
            return TOO_LONG
        key = contact_key(uri)
        put = existing.get(key)
        if put is not None and put[CALL_ID] == call_id:
            if put[CSEQ] > cseq or (put[CSEQ] == cseq and not expires_s):
                return OUT_OF_ORDER
            if put[CSEQ] == cseq:
                continue
        if expires_s:
            result[key] = [uri, call_id, cseq, q, now_ms + expires_s * 1000, flow, instance, path, agent[:128], now_ms]
        else:
            result.pop(key, None)
    if len(result) > max(max_contacts, len(existing)):
        return TOO_MANY
    puts = [put for put in result.values() if put not in before]
    removes = [put[CONTACT] for put in before if contact_key(put[CONTACT]) not in result]
    known_until_ms = 0
    if puts or removes:
        known_until_ms = max((put[EXPIRES_MS] for put in result.values()), default=now_ms) + remember_ms
    return puts, removes, known_until_ms, list(result.values())
