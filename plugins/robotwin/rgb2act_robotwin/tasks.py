"""Names and step limits of RoboTwin's tasks."""

from __future__ import annotations

UNKNOWN = 1000  # RoboTwin's limit for a task that has none of its own
ALOHA = "aloha-agilex"
EMBODIMENTS = (ALOHA, "ARX-X5", "franka-panda", "piper", "ur5-wsg")

_LIMITS = {
    400: (
        "adjust_bottle beat_block_hammer click_alarmclock click_bell grab_roller lift_pot"
        " move_can_pot move_pillbottle_pad move_playingcard_away move_stapler_pad"
        " pick_diverse_bottles pick_dual_bottles place_a2b_left place_a2b_right"
        " place_container_plate place_fan place_mouse_pad place_object_scale place_object_stand"
        " place_phone_stand press_stapler rotate_qrcode stamp_seal turn_switch"
    ),
    500: "place_bread_skillet place_empty_cup place_burger_fries place_shoe scan_object",
    600: "dump_bin_bigbin handover_mic place_dual_shoes",
    700: (
        "open_laptop place_bread_basket place_can_basket place_object_basket put_object_cabinet"
        " shake_bottle shake_bottle_horizontally"
    ),
    800: "handover_block place_cans_plasticbox stack_blocks_two",
    900: "hanging_mug stack_bowls_two",
    1200: "blocks_ranking_rgb blocks_ranking_size stack_blocks_three stack_bowls_three",
    1500: "open_microwave",
    1700: "put_bottles_dustbin",
}
STEP_LIMITS = {task: limit for limit, tasks in _LIMITS.items() for task in tasks.split()}
TASKS = tuple(sorted(STEP_LIMITS))


def step_limit(task: str) -> int:
    """Return the maximum number of actions per episode of a task."""
    return STEP_LIMITS.get(task, UNKNOWN)
