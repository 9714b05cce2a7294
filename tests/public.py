"""What a user can name: public names, attributes of public classes, and the parameters of what can be called."""

import inspect
import json

import dfp

_PLAIN = (bool, int, float, str, tuple, type(None))


def parameters(value):
    """One text per parameter: its name, behind ``*`` where it must be named, and its default where it has one."""
    texts = []
    for one in inspect.signature(value).parameters.values():
        default = repr(one.default) if isinstance(one.default, _PLAIN) else type(one.default).__name__
        text = one.name if one.default is one.empty else f"{one.name}={default}"
        texts.append({one.KEYWORD_ONLY: f"* {text}", one.VAR_POSITIONAL: f"*{text}"}.get(one.kind, text))
    return texts


def described():
    """All names: parameters of what can be called, ``None`` for other attributes."""
    found = {}
    for name in sorted(dfp.__all__):
        value = getattr(dfp, name)
        if inspect.isclass(value) and issubclass(value, Exception):
            found[name] = [base.__name__ for base in value.__mro__[1:-3]]
            continue
        found[name] = parameters(value) if callable(value) else None
        if inspect.isclass(value):
            fields = getattr(value, "__dataclass_fields__", {})
            for key in sorted(key for key in {*dir(value), *fields} if not key.startswith("_")):
                attribute = getattr(value, key, None)
                found[f"{name}.{key}"] = parameters(attribute) if callable(attribute) else None
    return found


if __name__ == "__main__":
    lines = [f"{json.dumps(name)}: {json.dumps(what, ensure_ascii=False)}" for name, what in described().items()]
    print("{", ",\n".join(lines), "}", sep="\n")
