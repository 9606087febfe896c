#!/usr/bin/env bash
# How a stage's command is started. Prefix it, e.g. train_cmd="srun --gres=gpu:1" or "nice"; empty runs it here.
# Export them before run.sh, or edit this file in your copy of the recipe.
export train_cmd=${train_cmd:-}
export tokenize_cmd=${tokenize_cmd:-}
# What runs jobs with a log each, for commands of your own: $cmd JOB=1:4 exp/log/tokenize.JOB.log audiokd tokenize ... --split JOB/4
# run.sh runs them on this machine; another program with the same words (Kaldi's queue.pl, slurm.pl) sends them to a cluster.
export cmd=${cmd:-$(dirname "${BASH_SOURCE[0]}")/run.sh}
