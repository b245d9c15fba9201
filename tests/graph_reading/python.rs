//! Python's imports.

use std::path::PathBuf;
use std::time::Duration;

use tidemill::graph::imports::{Parsed, parse};
use tidemill::graph::languages::Language;

use crate::fixture::{graph_of, imports_of, unresolved};

#[test]
fn relative_imports_count_dots_from_the_package() {
    let graph = graph_of(&[
        ("shop/__init__.py", "from . import cart\nfrom .cart import Cart\n"),
        ("shop/cart.py", "from .pay.card import charge\nfrom .pay import card, Money\n"),
        ("shop/pay/__init__.py", "from .. import cart\n"),
        ("shop/pay/card.py", "from ..cart import (\n    Cart,\n    Line,\n)\nfrom ...outside import x\n"),
    ]);
    assert_eq!(imports_of(&graph, "shop/__init__.py"), ["shop/cart.py"]);
    assert_eq!(imports_of(&graph, "shop/cart.py"), ["shop/pay/__init__.py", "shop/pay/card.py"]);
    assert_eq!(imports_of(&graph, "shop/pay/__init__.py"), ["shop/cart.py"]);
    assert_eq!(imports_of(&graph, "shop/pay/card.py"), ["shop/cart.py"]);
    assert_eq!(unresolved(&graph), [("shop/pay/card.py", 5, "from ...outside import x")]);
}

#[test]
fn absolute_imports_are_found_in_the_package_root_and_in_src() {
    let graph = graph_of(&[
        ("src/shop/__init__.py", ""),
        ("src/shop/cart.py", "import shop.pay as pay\nimport os, json\nimport numpy as np\n"),
        ("src/shop/pay.py", "from shop import cart\nfrom shop.missing import thing\n"),
        ("tests/test_cart.py", "from shop.cart import Cart\nimport helpers\n"),
        ("tests/helpers.py", "def a():\n    import shop\n"),
    ]);
    assert_eq!(imports_of(&graph, "src/shop/cart.py"), ["json", "numpy", "os", "src/shop/pay.py"]);
    assert_eq!(imports_of(&graph, "src/shop/pay.py"), ["src/shop/cart.py"]);
    assert_eq!(imports_of(&graph, "tests/test_cart.py"), ["src/shop/cart.py", "tests/helpers.py"]);
    assert_eq!(imports_of(&graph, "tests/helpers.py"), ["src/shop/__init__.py"]);
    assert_eq!(unresolved(&graph), [("src/shop/pay.py", 2, "from shop.missing import thing")]);
}

#[test]
fn namespace_packages_need_no_init_and_share_their_name_with_others() {
    let graph = graph_of(&[
        (
            "google/shop/api.py",
            "from google.shop import types\nfrom google.protobuf import message\nimport google.shop\n",
        ),
        ("google/shop/types.py", "import google.shop.api\n"),
    ]);
    assert_eq!(imports_of(&graph, "google/shop/api.py"), ["google", "google/shop/types.py"]);
    assert_eq!(imports_of(&graph, "google/shop/types.py"), ["google/shop/api.py"]);
    assert!(graph.unresolved.is_empty());
}

#[test]
fn folders_that_happen_to_have_a_package_s_name_do_not_stand_for_it() {
    let graph = graph_of(&[("examples/celery/src/app/__init__.py", "from celery import Celery\n"), ("setup.py", "")]);
    assert_eq!(imports_of(&graph, "examples/celery/src/app/__init__.py"), ["celery"]);
}

#[test]
fn standard_library_is_shadowed_only_from_beside_the_program() {
    let graph = graph_of(&[
        ("app/__init__.py", ""),
        ("app/json.py", ""),
        ("app/main.py", "import json\nfrom . import json as own\n"),
        ("script.py", "import types_\nimport random\n"),
        ("random.py", ""),
        ("other/deep/types.py", ""),
        ("other/run.py", "import types\n"),
    ]);
    assert_eq!(imports_of(&graph, "app/main.py"), ["app/json.py", "json"]);
    assert_eq!(imports_of(&graph, "script.py"), ["random.py", "types_"]);
    assert_eq!(imports_of(&graph, "other/run.py"), ["types"]);
}

#[test]
fn imports_by_call_count_when_the_name_is_written_out() {
    let graph = graph_of(&[
        ("a/__init__.py", ""),
        (
            "a/b.py",
            "import importlib\nimportlib.import_module('a.c')\n__import__(name)\nimportlib.import_module('.c', __package__)\nimportlib.import_module('.d', other)\n",
        ),
        ("a/c.py", "if True:\n    try:\n        from a import b\n    except ImportError:\n        b = None\n"),
    ]);
    assert_eq!(imports_of(&graph, "a/b.py"), ["a/c.py", "importlib"]);
    assert_eq!(imports_of(&graph, "a/c.py"), ["a/b.py"]);
    assert!(graph.unresolved.is_empty());
}

#[test]
fn imports_are_found_in_every_block() {
    let graph = graph_of(&[
        (
            "a.py",
            "def f(x=1):\n    with x as y:\n        for z in y:\n            import b\n    return x\nclass C:\n    @staticmethod\n    async def g():\n        match 1:\n            case 1:\n                from c import d\nif 1: import e; import f\nwhile 0:\n    pass\nelse:\n    import g\n",
        ),
        ("b.py", ""),
        ("c.py", ""),
        ("e.py", ""),
        ("f.py", ""),
        ("g.py", ""),
    ]);
    assert_eq!(imports_of(&graph, "a.py"), ["b.py", "c.py", "e.py", "f.py", "g.py"]);
}

#[test]
fn edges_carry_the_number_of_imports_and_none_leads_to_itself() {
    let graph = graph_of(&[
        ("p/__init__.py", "from p import x\nimport p\n"),
        ("p/x.py", "from p import y\nfrom p.y import a, b\nimport p.y, p.y as z\n"),
        ("p/y.py", "import p.y\nfrom . import x\n"),
    ]);
    let files: Vec<&str> = graph.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(files, ["p/__init__.py", "p/x.py", "p/y.py"]);
    let edges: Vec<(u32, u32, u32)> = graph.edges.iter().map(|edge| (edge.from, edge.to, edge.count)).collect();
    assert_eq!(edges, [(0, 1, 1), (1, 2, 4), (2, 1, 1)]);
}

#[test]
fn what_can_be_read_of_a_broken_file_is_read() {
    let graph = graph_of(&[
        ("a.py", "import b\ndef broken(:\n    ((((\nclass\nimport c\n"),
        ("b.py", "print 'python 2'\nimport c\n"),
        ("c.py", ""),
    ]);
    assert!(imports_of(&graph, "a.py").contains(&"b.py"));
    assert_eq!(imports_of(&graph, "b.py"), ["c.py"]);
}

/// Imports that a module has when only its import statements are parsed, and when all of it is: that it speaks of imports
/// by call makes the difference.
fn both_ways(module: &[u8]) -> [Parsed; 2] {
    let whole = [module, b"\n# import_module\n"].concat();
    [module, &whole].map(|text| parse(Language::Python, "m.py", text, Duration::from_mins(1)).unwrap())
}

/// `TIDEMILL_TEST_PYTHON=FOLDER` tries every module under a folder as well, such as that of Python's own library.
#[test]
fn parsing_import_statements_alone_finds_the_same_as_parsing_everything() {
    let mut modules: Vec<(String, Vec<u8>)> = [
        "import a.b as c, d\nfrom . import (\n  e as f, # )\n  g,\n)\nx = 1; import h ; from ..i import *",
        "\"\"\"import no\n>>> from no import no\n\"\"\"\r\nif x:\r\n    import a\r\nelse: from b import c # import no\r\n",
        "def f(x: int = 3, *a: 'from', **k) -> Dict[str, int]:\n\tfrom a import \\\n\t\tb\n\treturn {1: lambda: 2}\n",
        "class A:\n  import a\n\n  async def b(self):\n    try: import c\n    except E: pass\n    finally:\n      import d\n",
        "x = r'\\' ; y = f'{z!r:>{w}} import no'; z = rb'''\nimport no'''\nraise E from e\n",
        "from __future__ import annotations\nfrom a import b\ndef g():\n    yield from a\n",
        "\u{feff}import é, 名.前\n",
        "print(f'{a[\"b\"]}')\nmatch a:\n  case 1: import b\n",
    ]
    .iter()
    .map(|text| (String::from("written here"), text.as_bytes().to_vec()))
    .collect();
    let mut folders: Vec<_> = std::env::var_os("TIDEMILL_TEST_PYTHON").map(PathBuf::from).into_iter().collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|end| end == "py") {
                modules.push((entry.display().to_string(), std::fs::read(&entry).unwrap()));
            }
        }
    }
    let mut wrong = Vec::new();
    for (name, text) in modules {
        let [parts, whole] = both_ways(&text);
        if parts.imports != whole.imports {
            wrong.push((name, parts.imports, whole.imports));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
