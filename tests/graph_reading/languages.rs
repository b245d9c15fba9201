//! Imports of Rust, Go and Java.

use crate::fixture::{graph_of, imports_of, unresolved};

#[test]
fn rust_modules_are_found_beside_and_below() {
    let graph = graph_of(&[
        ("Cargo.toml", "[package]\nname = \"shop-front\"\nedition = \"2024\"\n"),
        (
            "src/lib.rs",
            "mod a;\npub mod b;\n#[path = \"odd/place.rs\"]\nmod c;\nmod inline {\n    mod d;\n    pub use super::a::Thing;\n}\ncfg_if! {\n    if #[cfg(unix)] {\n        mod e;\n    }\n}\nmod gone;\n",
        ),
        ("src/a.rs", "mod deep;\nuse self::deep::X;\n"),
        ("src/a/deep.rs", "use super::super::b;\n"),
        ("src/b/mod.rs", "mod deep;\n"),
        ("src/b/deep.rs", "use crate::{a::{deep, Other}, b};\n"),
        ("src/odd/place.rs", "fn f() { crate::a::deep::call(); super::b::g::<u8>(); std::mem::drop(1); }\n"),
        ("src/inline/d.rs", ""),
        ("src/e.rs", "use std::fmt;\nuse serde::Serialize;\n"),
    ]);
    assert_eq!(
        imports_of(&graph, "src/lib.rs"),
        ["src/a.rs", "src/b/mod.rs", "src/e.rs", "src/inline/d.rs", "src/odd/place.rs"]
    );
    assert_eq!(imports_of(&graph, "src/a.rs"), ["src/a/deep.rs"]);
    assert_eq!(imports_of(&graph, "src/a/deep.rs"), ["src/b/mod.rs"]);
    assert_eq!(imports_of(&graph, "src/b/deep.rs"), ["src/a.rs", "src/a/deep.rs", "src/b/mod.rs"]);
    assert_eq!(imports_of(&graph, "src/odd/place.rs"), ["src/a/deep.rs", "src/b/mod.rs", "std"]);
    assert_eq!(imports_of(&graph, "src/e.rs"), ["serde", "std"]);
    assert_eq!(unresolved(&graph), [("src/lib.rs", 14, "mod gone")]);
}

#[test]
fn rust_crates_of_one_workspace_see_each_other_by_name() {
    let graph = graph_of(&[
        (
            "Cargo.toml",
            "[workspace]\nmembers = [\"core\", \"app\"]\n[workspace.dependencies]\nengine = { path = \"core\", package = \"shop-core\" }\n",
        ),
        ("core/Cargo.toml", "[package]\nname = \"shop-core\"\nedition = \"2021\"\n[lib]\nname = \"shop\"\n"),
        ("core/src/lib.rs", "pub mod cart;\n"),
        ("core/src/cart.rs", ""),
        ("core/tests/all.rs", "mod common;\nuse shop::cart::Cart;\n"),
        ("core/tests/common/mod.rs", ""),
        ("core/src/bin/tool.rs", "use shop::cart;\n"),
        (
            "app/Cargo.toml",
            "[package]\nname = \"app\"\nedition = \"2021\"\n[dependencies]\nengine.workspace = true\nrand = \"1\"\n",
        ),
        ("app/src/main.rs", "use engine::cart::Cart;\nuse rand::Rng;\nuse Color::*;\nenum Color { Red }\n"),
    ]);
    assert_eq!(imports_of(&graph, "core/tests/all.rs"), ["core/src/cart.rs", "core/tests/common/mod.rs"]);
    assert_eq!(imports_of(&graph, "core/src/bin/tool.rs"), ["core/src/cart.rs"]);
    assert_eq!(imports_of(&graph, "app/src/main.rs"), ["core/src/cart.rs", "rand"]);
    assert!(graph.unresolved.is_empty());
}

#[test]
fn go_packages_are_folders_and_names_tell_their_files() {
    let graph = graph_of(&[
        (
            "go.mod",
            "module example.com/shop // ours\n\ngo 1.22\n\nreplace (\n\texample.com/money v1.0.0 => ./forks/money\n)\n",
        ),
        (
            "main.go",
            "package main\n\nimport (\n\t\"fmt\"\n\t\"example.com/shop/cart\"\n\tm \"example.com/money\"\n\t_ \"example.com/shop/effects\"\n\t\"example.com/shop/nothing\"\n\t\"github.com/x/y/v2\"\n)\n\nfunc main() { fmt.Println(cart.New(), m.Euro, helper()) }\n",
        ),
        ("helper.go", "package main\n\nfunc helper() int { return 1 }\n"),
        ("cart/cart.go", "package cart\n\nfunc New() *Cart { return &Cart{line: Line{}} }\n"),
        ("cart/types.go", "package cart\n\ntype (\n\tCart struct{ line Line }\n\tLine struct{}\n)\n"),
        ("cart/cart_test.go", "package cart\n\nfunc Test() { New() }\n"),
        ("effects/a.go", "package effects\n"),
        ("effects/b.go", "package effects\n"),
        ("forks/money/go.mod", "module example.com/money\n"),
        ("forks/money/money.go", "package money\n\nconst Euro, Cent = 1, 2\n"),
    ]);
    let main = [
        "cart/cart.go",
        "effects/a.go",
        "effects/b.go",
        "fmt",
        "forks/money/money.go",
        "github.com/x/y/v2",
        "helper.go",
    ];
    assert_eq!(imports_of(&graph, "main.go"), main);
    assert_eq!(imports_of(&graph, "cart/cart.go"), ["cart/types.go"]);
    assert_eq!(imports_of(&graph, "cart/types.go"), [""; 0]);
    assert_eq!(imports_of(&graph, "cart/cart_test.go"), ["cart/cart.go"]);
    assert_eq!(unresolved(&graph), [("main.go", 8, "example.com/shop/nothing")]);
}

#[test]
fn java_types_are_found_by_package_and_name() {
    let graph = graph_of(&[
        (
            "src/main/java/com/shop/App.java",
            "package com.shop;\n\nimport com.shop.cart.Cart;\nimport com.shop.pay.*;\nimport static com.shop.Util.*;\nimport static com.shop.pay.Money.ZERO;\nimport java.util.List;\nimport com.shop.cart.Gone;\n\nclass App { Card card; Helper helper; List<Cart> carts; }\n",
        ),
        ("src/main/java/com/shop/Helper.java", "package com.shop;\nclass Helper {}\nclass Hidden {}\n"),
        (
            "src/main/java/com/shop/Util.java",
            "package com.shop;\npublic class Util { static void f() { new Hidden(); } }\n",
        ),
        (
            "src/main/java/com/shop/cart/Cart.java",
            "package com.shop.cart;\nimport com.shop.pay.Money.Unit;\npublic class Cart { Unit unit; }\n",
        ),
        ("src/main/java/com/shop/pay/Card.java", "package com.shop.pay;\npublic record Card(Money limit) {}\n"),
        (
            "src/main/java/com/shop/pay/Money.java",
            "package com.shop.pay;\npublic interface Money { enum Unit { EURO } }\n",
        ),
        ("src/main/java/com/shop/pay/Unused.java", "package com.shop.pay;\npublic class Unused {}\n"),
    ]);
    let pre = "src/main/java/com/shop/";
    let of = |name: &str| {
        imports_of(&graph, &format!("{pre}{name}"))
            .into_iter()
            .map(|path| path.strip_prefix(pre).unwrap_or(path))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        of("App.java"),
        ["java.util", "Helper.java", "Util.java", "cart/Cart.java", "pay/Card.java", "pay/Money.java"]
    );
    assert_eq!(of("Util.java"), ["Helper.java"]);
    assert_eq!(of("cart/Cart.java"), ["pay/Money.java"]);
    assert_eq!(of("pay/Card.java"), ["pay/Money.java"]);
    assert_eq!(unresolved(&graph), [("src/main/java/com/shop/App.java", 8, "com.shop.cart.Gone")]);
}
