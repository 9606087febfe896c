#!/usr/bin/env bash
# How a stage's command is started. Prefix it, e.g. train_cmd="srun --gres=gpu:1" or "nice"; empty runs it here.
# Export them before run.sh, or edit this file in your copy of the recipe.
export train_cmd=${train_cmd:-}
export tokenize_cmd=${tokenize_cmd:-}
