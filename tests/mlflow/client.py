"""MLflow's own client at work on a database: logs runs, searches them, and reads everything back.

Usage: client.py URL ROUNDS. Prints one line a round; any difference between what was logged and what is read back
ends it with a traceback.
"""

import sys

from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient


def main(url: str, rounds: int) -> None:
    client = MlflowClient(tracking_uri=url)
    name = "at work"
    found = client.get_experiment_by_name(name)
    experiment = found.experiment_id if found else client.create_experiment(name)
    for number in range(rounds):
        run = client.create_run(experiment).info.run_id
        points = [Metric(f"loss/{key}", step / (key + 1), 1_700_000_000_000 + step, step) for key in range(4) for step in range(100)]
        client.log_batch(run, metrics=points, params=[Param("depth", str(number))])
        client.set_terminated(run)
        history = client.get_metric_history(run, "loss/3")
        assert [point.value for point in history] == [step / 4 for step in range(100)], history
        assert client.get_run(run).data.params == {"depth": str(number)}
        best = client.search_runs([experiment], "metrics.`loss/0` > 1", order_by=["metrics.`loss/1` DESC"], max_results=5)
        assert best, "search finds what was logged"
        if number % 5 == 4:
            client.delete_run(run)
        print(f"round {number}: {len(history)} points read back", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
