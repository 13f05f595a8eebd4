import subprocess
import sys


def test_listing_components_imports_no_torch():
    code = (
        "import sys, rgb2act_mini as mini;"
        "list(mini.rgb2act_backbones()), list(mini.rgb2act_teachers());"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
