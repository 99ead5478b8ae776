import pytest

from layer_build.prune import Rule, prune_files


@pytest.mark.parametrize(
    ("path", "is_kept"),
    [
        ("pandas/tests/test_a.py", False),
        ("numpy/_core/tests/test_umath.py", False),
        ("numpy/_core/tests/_natype.py", True),
        ("numpy/_core/tests/__init__.py", True),
        ("pandas/_testing/__init__.py", True),
        ("numpy/testing/__init__.py", True),
        ("polars/py.typed", False),
        ("polars/_plr.pyi", False),
        ("numpy/typing/__init__.py", True),
        ("numpy/_core/include/numpy/arrayobject.h", False),
        ("numpy/_core/_simd.cpython-311-x86_64-linux-gnu.so", False),
        ("numpy/_core/_multiarray_umath.cpython-311-x86_64-linux-gnu.so", True),
        ("numpy.libs/libgfortran.so.5", True),
        ("pump-1.0.dist-info/RECORD", False),
        ("pump-1.0.dist-info/METADATA", True),
        ("pump-1.0.dist-info/licenses/LICENSE", True),
        ("bin/jp.py", False),
        ("pump/bin/jp.py", True),
        ("pump/__pycache__/pump.cpython-311.pyc", False),
    ],
)
def test_what_nothing_imports_goes(path: str, is_kept: bool) -> None:
    assert (path in prune_files({path: b"12"}).files) is is_kept


def test_savings_add_up_by_the_first_rule_that_takes_a_file() -> None:
    rules = (Rule(("**/*.h",), "headers"), Rule(("a/**",), "all of a", unless=("a/keep.py",)))
    files = {"a/x.h": b"1", "b/c/y.h": b"22", "a/b/c.py": b"333", "a/keep.py": b"4444", "c.py": b""}
    pruned = prune_files(files, rules)
    assert pruned.saved == {"headers": 3, "all of a": 3}
    assert set(pruned.files) == {"a/keep.py", "c.py"}
