"""Serve one of RoboTwin's environments over an inherited socket.

Started as ``python -m rgb2act_robotwin_worker FD PATH_OF_RGB2ACT_WIRE`` with this package's folder
on the path. A request is a map with ``kind``; the reply is ``{"kind": "ok", ...}`` or
``{"kind": "error", "what", "where"}``. Requests are answered in order, and the worker goes on after
an error where it can.

==========  ==================================  ==================================================
kind        fields                              reply
==========  ==================================  ==================================================
``look``    root, settings, task (optional)     ``facts``: list of {name, ok, detail, remedy}
``start``   task, root (None: the PyPI          ``facts``: layout, commit, versions, low, high,
            package), settings                  step_limit, cameras, image, shader, planner, fps,
                                                fallbacks, device
``screen``  seed                                accepted, reason, info: what the scripted expert
                                                reported about the scene
``begin``   seed, instruction_seed, info (of    observation, instruction, step_limit
            ``screen``, optional),
            observe, clouds, depth (optional)
``step``    action float64 (14,), observe,      observation or None, hands float64 (2, 7),
            clouds, depth (optional)            success, steps, done
``end``     -                                   -
``record``  seed                                accepted, reason, frames, info, instructions
``frame``   index                               observation of that frame of the recorded episode
==========  ==================================  ==================================================

Settings and their defaults: ``settings.Settings``. Observations: ``observations.observation``.
"""
