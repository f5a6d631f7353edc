#!/bin/sh
exec test -f tc_control
