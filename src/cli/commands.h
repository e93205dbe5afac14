// The commands of smelt: one function each, `argv[0]` is the command's own name. Return the exit
// code: 0 done, 1 failed, 2 usage.
#pragma once

struct command {
    const char *name;
    int (*main)(int argc, char **argv);
    const char *summary; // one line of `smelt --help`
};

int serve_main(int argc, char **argv);
int sqs_main(int argc, char **argv);
int s3_main(int argc, char **argv);
int gateway_main(int argc, char **argv);
int worker_main(int argc, char **argv);
int zygote_main(int argc, char **argv); // internal: started by the worker
int submit_main(int argc, char **argv);
int result_main(int argc, char **argv);
int cancel_main(int argc, char **argv);
int predict_main(int argc, char **argv);
int model_main(int argc, char **argv);
int audit_main(int argc, char **argv);
int experiment_main(int argc, char **argv);
int experiment_case_main(int argc, char **argv); // internal: started by experiment
int queue_main(int argc, char **argv);
int bench_main(int argc, char **argv); // bench engine|pipeline|sqs
int check_main(int argc, char **argv);
int bench_engine_main(int argc, char **argv);
int bench_pipeline_main(int argc, char **argv);
int bench_sqs_main(int argc, char **argv);
