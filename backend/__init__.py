# SPDX-License-Identifier: Apache-2.0
"""The backend: a server that never computes and always answers, and one worker a device."""
