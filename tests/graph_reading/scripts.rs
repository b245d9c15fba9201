//! Imports of JavaScript and TypeScript.

use crate::fixture::{graph_of, imports_of, unresolved};

#[test]
fn every_form_of_import_counts() {
    let graph = graph_of(&[
        (
            "main.ts",
            "import a from './a';\nimport type { B } from './b';\nexport * from './c';\nimport d = require('./d');\nconst e = require('./e');\nconst f = import('./f');\nlet g: typeof import('./g');\nimport './h';\nimport(`./i`);\nimport(`./${name}`);\n",
        ),
        ("a.ts", ""),
        ("b.ts", ""),
        ("c.ts", ""),
        ("d.ts", ""),
        ("e.js", ""),
        ("f.tsx", ""),
        ("g.d.ts", ""),
        ("h.mjs", ""),
        ("i.ts", ""),
        ("types.ts", "/// <reference path=\"a.ts\" />\n// import './b'\nconst text = \"import './c'\";\n"),
    ]);
    let all = ["a.ts", "b.ts", "c.ts", "d.ts", "e.js", "f.tsx", "g.d.ts", "h.mjs", "i.ts"];
    assert_eq!(imports_of(&graph, "main.ts"), all);
    assert_eq!(imports_of(&graph, "types.ts"), ["a.ts"]);
}

#[test]
fn imports_inside_of_ambient_modules_and_after_code_count() {
    let graph = graph_of(&[
        (
            "main.ts",
            "const a = 1;\nnamespace N { export const y = 1; }\nimport x = require('./a');\nclass C { m() { return 1; } }\ndeclare module 'x' {\n    import { B } from './b';\n    export * from './c';\n}\nexport { d } from './d';\n",
        ),
        (
            "plain.ts",
            "function f() { return { a: [1] }; }\ndeclare module 'x' {\n    import { B } from './b';\n    export default f;\n}\nexport const a = () => 1;\nimport './c';\n",
        ),
        ("a.ts", ""),
        ("b.ts", ""),
        ("c.ts", ""),
        ("d.ts", ""),
    ]);
    assert_eq!(imports_of(&graph, "main.ts"), ["a.ts", "b.ts", "c.ts", "d.ts"]);
    assert_eq!(imports_of(&graph, "plain.ts"), ["b.ts", "c.ts"]);
}

#[test]
fn files_are_found_without_their_ends_under_their_compiled_names_and_as_index() {
    let graph = graph_of(&[
        (
            "src/main.ts",
            "import './a.js';\nimport './b.jsx';\nimport './c.mjs';\nimport './folder';\nimport '..';\nimport './data.json';\nimport './style.css?inline';\nimport './gone';\n",
        ),
        ("src/a.ts", ""),
        ("src/a.js", ""),
        ("src/b.tsx", ""),
        ("src/c.mts", ""),
        ("src/folder/index.tsx", "import '.';\nimport './';\nimport '../folder';"),
        ("index.ts", ""),
        ("src/data.json", "{}"),
        ("src/style.css", ""),
        ("old.js", "require('./src/a.js'); require('./src/a'); require('./lib')"),
        ("lib/package.json", r#"{"main": "./entry"}"#),
        ("lib/entry.js", ""),
        ("lib/index.js", ""),
    ]);
    assert_eq!(
        imports_of(&graph, "src/main.ts"),
        ["index.ts", "src/a.ts", "src/b.tsx", "src/c.mts", "src/folder/index.tsx"]
    );
    assert_eq!(imports_of(&graph, "old.js"), ["lib/entry.js", "src/a.js"]);
    assert_eq!(unresolved(&graph), [("src/main.ts", 8, "./gone")]);
}

#[test]
fn tsconfig_paths_are_followed_through_extends_with_comments() {
    let graph = graph_of(&[
        (
            "tsconfig.base.json",
            "{\n  // shared\n  \"compilerOptions\": { \"baseUrl\": \".\", \"paths\": { \"@/*\": [\"src/*\", \"generated/*\"], \"exact\": [\"src/exact.ts\"], \"@/deep/*\": [\"deep/*\"], }, },\n}",
        ),
        ("app/tsconfig.json", r#"{"extends": "../tsconfig.base.json"}"#),
        (
            "app/main.ts",
            "import '@/a';\nimport '@/made';\nimport 'exact';\nimport '@/deep/x';\nimport 'src/a';\nimport '@/gone';\nimport 'react';\n",
        ),
        ("src/a.ts", ""),
        ("generated/made.ts", ""),
        ("src/exact.ts", ""),
        ("deep/x.ts", ""),
        ("src/deep/x.ts", ""),
    ]);
    assert_eq!(
        imports_of(&graph, "app/main.ts"),
        ["deep/x.ts", "generated/made.ts", "react", "src/a.ts", "src/exact.ts"]
    );
    assert_eq!(unresolved(&graph), [("app/main.ts", 6, "@/gone")]);
}

#[test]
fn tsconfig_of_references_and_extends_in_a_circle_are_borne() {
    let graph = graph_of(&[
        ("tsconfig.json", r#"{"files": [], "references": [{"path": "./tsconfig.app.json"}]}"#),
        (
            "tsconfig.app.json",
            r#"{"extends": "./tsconfig.loop.json", "compilerOptions": {"paths": {"~/*": ["./src/*"]}}}"#,
        ),
        ("tsconfig.loop.json", r#"{"extends": "./tsconfig.app.json"}"#),
        ("src/main.ts", "import '~/a';\n"),
        ("src/a.ts", ""),
    ]);
    assert_eq!(imports_of(&graph, "src/main.ts"), ["src/a.ts"]);
}

#[test]
fn packages_of_the_repository_lead_to_their_sources() {
    let graph = graph_of(&[
        (
            "packages/core/package.json",
            r##"{"name": "@shop/core", "main": "dist/index.js", "exports": {".": {"types": "./dist/index.d.ts", "import": "./dist/esm/index.js"}, "./parts/*": "./dist/parts/*.js", "./raw": "./raw.js"}, "imports": {"#inside": "./src/inside.ts"}}"##,
        ),
        ("packages/core/src/index.ts", "import '#inside';\nimport '@shop/core/parts/a';\n"),
        ("packages/core/src/inside.ts", ""),
        ("packages/core/src/parts/a.ts", ""),
        ("packages/core/raw.js", ""),
        ("packages/app/package.json", r#"{"name": "app", "dependencies": {"@shop/core": "workspace:*"}}"#),
        (
            "packages/app/main.ts",
            "import '@shop/core';\nimport '@shop/core/parts/a';\nimport '@shop/core/raw';\nimport '@shop/core/nothing';\nimport '@shop/other/x';\nimport fs from 'fs';\nimport 'node:path';\n",
        ),
    ]);
    assert_eq!(
        imports_of(&graph, "packages/core/src/index.ts"),
        ["packages/core/src/inside.ts", "packages/core/src/parts/a.ts"]
    );
    assert_eq!(
        imports_of(&graph, "packages/app/main.ts"),
        [
            "@shop/other",
            "node:fs",
            "node:path",
            "packages/core/raw.js",
            "packages/core/src/index.ts",
            "packages/core/src/parts/a.ts"
        ]
    );
    assert_eq!(unresolved(&graph), [("packages/app/main.ts", 4, "@shop/core/nothing")]);
}

#[test]
fn installed_packages_are_not_the_repository_s_code() {
    let graph = graph_of(&[
        ("main.js", "import x from 'left-pad';\n"),
        ("node_modules/left-pad/index.js", "require('./other')"),
        ("node_modules/left-pad/package.json", r#"{"name": "left-pad"}"#),
    ]);
    assert_eq!(graph.files.len(), 1);
    assert_eq!(imports_of(&graph, "main.js"), ["left-pad"]);
    assert_eq!(crate::fixture::skipped(&graph), [("node_modules", "installed packages")]);
}
