"""One search from Python, on the synthetic data set."""

from search import run_search

if __name__ == "__main__":
    small = {"data.limit_train": 48, "data.limit_val": 24, "train.epochs": 2}
    result = run_search(
        "spaces/quick.yaml", "runs/example-search", data="embedded", settings=small, trials=3
    )
    best = result.history.record.leader()
    print(best.number, best.settings, best.best())
