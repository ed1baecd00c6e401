"""Lists of arguments, whose commas, line breaks and comments survive an edit."""

import libcst as cst
from hypothesis import given, settings
from hypothesis import strategies as st

from ftlib.upgrade import arguments as upgrade_arguments
from ftlib.upgrade.syntax import code_of


@settings(max_examples=80)
@given(
    st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, unique=True),
    st.sampled_from([", ", ",\n    ", ",  # note\n    ", ",\n    # above\n    "]),
    st.sampled_from(["", "\n    "]),
    st.booleans(),
    st.data(),
)
def test_argument_lists_survive_every_edit(names, between, opening, trailing, data):
    text = f"f({opening}{between.join(f'{name}=1' for name in names)}{',' if trailing else ''}{opening and chr(10)})"
    call = cst.ensure_type(cst.parse_expression(text), cst.Call)
    gone = data.draw(st.sampled_from(names))
    for edited, expected in (
        (upgrade_arguments.remove_argument(call, gone), [name for name in names if name != gone]),
        (upgrade_arguments.rename_argument(call, gone, "z"), ["z" if name == gone else name for name in names]),
        (upgrade_arguments.add_arguments(call, "y=2, z=3"), [*names, "y", "z"]),
    ):
        again = cst.ensure_type(cst.parse_expression(code_of(edited)), cst.Call)
        assert [each.keyword.value for each in again.args] == expected
        assert code_of(again).count("# above") == text.count("# above")
