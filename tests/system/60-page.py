"""The page in a real browser: Chromium, headless, at desktop and phone width."""
import os
import subprocess

import smelt


def test_page(site):
    serve = site.serve()
    text = os.path.join(site.folder, "notes.jpg")
    with open(text, "w") as f:
        f.write("this is no picture")
    done = subprocess.run(
        ["node", os.path.join(smelt.ROOT, "tests/system/js/page.mjs")], capture_output=True, text=True,
        timeout=300, env={"PATH": os.environ["PATH"], "URL": serve.gateway_url, "HOME": site.folder,
                          "SAMPLES": os.path.join(smelt.ROOT, "samples"), "TEXT": text,
                          "SHOTS": os.environ.get("SMELT_SHOTS", site.folder)})
    print(done.stdout)
    assert done.returncode == 0, done.stderr
