-- Learned graphs of repositories. A row that is not published is a training on its way; of each repository one is.
CREATE TABLE analytics.graphs (
    id             text COLLATE "C" PRIMARY KEY,
    repo_url       text COLLATE "C" NOT NULL,
    commit_id      text        NOT NULL,
    job_id         text COLLATE "C" NOT NULL,
    correlation_id text COLLATE "C" NOT NULL,
    trained_at     timestamptz NOT NULL,
    begun_at       timestamptz NOT NULL DEFAULT now(),
    published      boolean     NOT NULL DEFAULT false,
    dimension      integer     NOT NULL,
    files          bigint      NOT NULL,
    connected      bigint      NOT NULL,
    edges          bigint      NOT NULL,
    metrics        json        NOT NULL
);
CREATE UNIQUE INDEX graphs_repository ON analytics.graphs (repo_url, published);

-- Their files; vectors are little-endian 32-bit floats.
CREATE TABLE analytics.graph_files (
    -- deferred, so that a restore may fill the tables in any order
    graph_id    text COLLATE "C" NOT NULL REFERENCES analytics.graphs (id) ON DELETE CASCADE
                DEFERRABLE INITIALLY DEFERRED,
    file_path   text COLLATE "C" NOT NULL,
    language    text    NOT NULL,
    imports     integer NOT NULL,
    imported_by integer NOT NULL,
    vector      bytea   NOT NULL,
    PRIMARY KEY (graph_id, file_path)
);
-- Noise does not compress: do not try.
ALTER TABLE analytics.graph_files ALTER COLUMN vector SET STORAGE EXTERNAL;
