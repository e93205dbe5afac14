"""The Celery application of 25-celery.py: a task that notes that it was done. Configured by environment."""
import os
import time
import urllib.parse

import celery

app = celery.Celery("smelt_tests", broker="sqs://%s:%s@%s" % (
    urllib.parse.quote(os.environ["KEY"], safe=""), urllib.parse.quote(os.environ["SECRET"], safe=""),
    os.environ["SQS_HOST"]))
app.conf.update(
    task_default_queue="celery-jobs",
    task_acks_late=True,  # a task belongs to its worker until it is done
    worker_prefetch_multiplier=1,
    worker_send_task_events=False,
    worker_enable_remote_control=False,
    broker_connection_retry=True,
    broker_transport_options={"is_secure": False, "region": "us-east-1", "visibility_timeout": 3,
                              "wait_time_seconds": 1, "polling_interval": 0.1},
)


@app.task
def note(number):
    time.sleep(0.2)  # the work
    fd = os.open(os.environ["DONE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, b"%d\n" % number)
    os.close(fd)
