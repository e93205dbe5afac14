// smelt queue …: its subcommands.
#pragma once

int queue_list_main(int argc, char **argv);
int queue_stat_main(int argc, char **argv);
int queue_peek_main(int argc, char **argv);
int queue_send_main(int argc, char **argv);
int queue_receive_main(int argc, char **argv);
int queue_purge_main(int argc, char **argv);
int queue_redrive_main(int argc, char **argv);
