"""MLflow's own client before, during and after an archival.

Usage: archive.py URL COMMAND [ARGUMENT..]. Prints one line of JSON; whatever differs from what it should be ends it with
a traceback.
"""

import json
import sys
import warnings

import mlflow
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

KEYS = ("loss", "accuracy", "grad_norm")


def values(key: str, step: int) -> float:
    if key == "grad_norm":
        return (float("nan"), float("inf"), float("-inf"), -0.0, 5e-324)[step % 5]
    return (step + 1) / 3 if key == "loss" else round(step / 128, 2)


def history(client, run):
    points = [point for key in KEYS for point in client.get_metric_history(run, key)]
    return sorted([p.key, repr(p.value), p.timestamp, p.step] for p in points)


def log(client):
    experiment = client.create_experiment("judged")
    runs = []
    for number in range(4):
        run = client.create_run(experiment).info.run_id
        for start in range(0, 300, 100):
            points = [Metric(k, values(k, s), 1_700_000_000_000 + s * 1000, s) for k in KEYS for s in range(start, start + 100)]
            client.log_batch(run, metrics=points)
        client.log_batch(run, params=[Param("depth", str(number))])
        client.set_tag(run, "note", "n" * 4000)
        client.set_terminated(run)
        runs.append(run)
    return {"experiment": experiment, "runs": runs}


def histories(client, *runs):
    return {run: history(client, run) for run in runs}


def archived_history(client, experiment, *runs):
    """The runs are there in every list and search; only their history is empty, and they take new points."""
    found = client.search_runs([experiment], "metrics.loss > 99 and params.depth = '2'", order_by=["metrics.accuracy DESC"])
    assert [run.info.run_id for run in found] == [runs[2]], found
    for run in runs:
        data = client.get_run(run).data
        assert data.metrics["loss"] == 100.0, data.metrics
        assert data.tags["note"] == "n" * 4000
        mark = json.loads(data.tags["pgupkeep.archived"])
        assert (mark["schema"], mark["points"]) == ("archive", 900), data.tags
        assert history(client, run) == []
    client.log_metric(runs[0], "loss", 7.5, step=1000)
    assert [p.step for p in client.get_metric_history(runs[0], "loss")] == [1000]
    client.delete_run(runs[1])
    client.restore_run(runs[1])
    return {}


def archived_runs(client, experiment, *runs):
    """The runs are gone from MLflow."""
    assert not client.search_runs([experiment]), "they are gone"
    refuses(client.get_run, *runs)
    return {}


def ask_something(client, experiment, question):
    """Logs one trace of two spans."""
    root = client.start_trace("ask", inputs={"q": question}, tags={"of": "pgupkeep"}, experiment_id=experiment)
    trace = getattr(root, "trace_id", None) or root.request_id
    inner = client.start_span("think", trace, root.span_id, inputs={"q": question})
    client.end_span(trace, inner.span_id, outputs={"thought": question * 2})
    client.end_trace(trace, outputs={"a": question * 3})
    return trace


def log_traces(client, experiment):
    traces = [ask_something(client, experiment, number) for number in range(3)]
    if not mlflow.__version__.startswith("2."):
        mlflow.log_feedback(trace_id=traces[0], name="right", value=True)
    return {"traces": traces}


def traces(client, *ids):
    return {trace: client.get_trace(trace).to_dict() for trace in ids}


def archived_traces(client, experiment, *ids):
    """The traces are gone from MLflow; the experiment takes new ones and lets go of them."""
    assert not client.search_traces([experiment]), "they are gone"
    refuses(client.get_trace, *ids)
    late = ask_something(client, experiment, 7)
    client.set_trace_tag(late, "late", "yes")
    [found] = client.search_traces([experiment])
    assert found.info.tags["late"] == "yes", found.info
    assert client.delete_traces(experiment, max_timestamp_millis=found.info.timestamp_ms + 1, max_traces=10) == 1
    return {}


def archived_experiment(client, experiment, *runs):
    """The experiment is there with its mark, and empty; it takes a new run."""
    assert json.loads(client.get_experiment(experiment).tags["pgupkeep.archived"])["rows"] > 3600
    assert not client.search_runs([experiment]) and not client.search_traces([experiment]), "they are gone"
    refuses(client.get_run, *runs)
    late = client.create_run(experiment).info.run_id
    client.log_metric(late, "loss", 7.5)
    client.set_terminated(late)
    assert [run.info.run_id for run in client.search_runs([experiment])] == [late]
    client.delete_run(late)
    return {}


def refuses(read, *ids):
    for name in ids:
        try:
            read(name)
        except MlflowException:
            continue
        raise AssertionError(f"{name} is still there")


def wish(client, run):
    client.set_tag(run, "pgupkeep.restore", "true")
    return {}


def hard_delete(client, run):
    """What `mlflow gc` does to a run."""
    client.delete_run(run)
    client._tracking_client.store._hard_delete_run(run)
    return {}


def tags(client, run):
    return client.get_run(run).data.tags


if __name__ == "__main__":
    url, command, *arguments = sys.argv[1:]
    # Both versions understand a list of experiments; the newer would rather have it called something else.
    warnings.simplefilter("ignore", FutureWarning)
    mlflow.set_tracking_uri(url)
    print(json.dumps(globals()[command](MlflowClient(tracking_uri=url), *arguments)))
