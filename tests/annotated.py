"""What a setting may be, as the annotation of its field says."""

import types
import typing


def leaves(annotation, said=()):
    """The plain types in an annotation, each with what is said of it, outermost first."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        inner, *more = typing.get_args(annotation)
        return leaves(inner, (*said, *more))
    if origin in (typing.Union, types.UnionType):
        return [leaf for one in typing.get_args(annotation) for leaf in leaves(one, said)]
    return [(annotation, said)]
