-- Learned graphs of repositories. A row that is not published is a training on its way; of each repository one is.
CREATE TABLE analytics_graphs (
    id             TEXT    NOT NULL PRIMARY KEY,
    repo_url       TEXT    NOT NULL,
    commit_id      TEXT    NOT NULL,
    job_id         TEXT    NOT NULL,
    correlation_id TEXT    NOT NULL,
    trained_at_us  INTEGER NOT NULL,
    begun_at_ms    INTEGER NOT NULL,
    published      INTEGER NOT NULL,
    dimension      INTEGER NOT NULL,
    files          INTEGER NOT NULL,
    connected      INTEGER NOT NULL,
    edges          INTEGER NOT NULL,
    metrics        TEXT    NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX analytics_graphs_repository ON analytics_graphs (repo_url, published);

-- Their files; vectors are little-endian 32-bit floats.
CREATE TABLE analytics_graph_files (
    graph_id    TEXT    NOT NULL,
    file_path   TEXT    NOT NULL,
    language    TEXT    NOT NULL,
    imports     INTEGER NOT NULL,
    imported_by INTEGER NOT NULL,
    vector      BLOB    NOT NULL,
    PRIMARY KEY (graph_id, file_path)
) WITHOUT ROWID;
