# SPDX-License-Identifier: MIT
"""Headless Chromium, driven by chromedriver's HTTP protocol; only the standard library is used."""
import base64
import json
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.request

from faults import Wrong, check, wait_until


class Browser:
    """One tab."""

    def __init__(self, folder):
        driver, chromium = shutil.which("chromedriver"), shutil.which("chromium")
        check(driver and chromium, "needs Debian's packages chromium and chromium-driver")
        log = os.path.join(folder, "chromedriver.log")
        with open(log, "w") as out:
            self.process = subprocess.Popen([driver, "--port=0"], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        self.session = None
        try:
            def started():
                with open(log) as lines:
                    return re.search(r"started successfully on port (\d+)", lines.read())
            self.base = f"http://127.0.0.1:{wait_until(started, 'chromedriver listens').group(1)}"
            arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic",
                         "--no-first-run", "--disable-background-networking", "--disable-component-update",
                         "--disable-sync", "--user-data-dir=" + os.path.join(folder, "profile")]
            session = self.request("POST", "/session", {"capabilities": {"alwaysMatch": {
                "browserName": "chrome",
                "goog:chromeOptions": {"binary": chromium, "args": arguments},
                "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}}})
            self.session = "/session/" + session["sessionId"]
        except BaseException:
            self.quit()
            raise

    def request(self, method, path, body=None):
        asked = urllib.request.Request(self.base + path, method=method, headers={"Content-Type": "application/json"},
                                       data=None if body is None else json.dumps(body).encode())
        try:
            with urllib.request.urlopen(asked, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise Wrong(f"chromedriver: {json.load(error)['value']['message']}") from None

    def post(self, path, **body):
        return self.request("POST", self.session + path, body)

    def open(self, url):
        self.post("/url", url=url)

    def run(self, script, *arguments):
        return self.post("/execute/sync", script=script, args=arguments)

    def devtools(self, command, **parameters):
        return self.post("/goog/cdp/execute", cmd=command, params=parameters)

    def log(self, kind):
        """What has been added since it was read last."""
        return self.post("/se/log", type=kind)

    def text(self, selector):
        return self.run("return document.querySelector(arguments[0]).textContent", selector)

    def texts(self, selector):
        return self.run("return [...document.querySelectorAll(arguments[0])].map(one => one.textContent)", selector)

    def click(self, selector):
        (element,) = self.post("/element", using="css selector", value=selector).values()
        self.post(f"/element/{element}/click")

    def expect(self, selector, text):
        wait_until(lambda: self.text(selector) == text,
                   lambda: f"{selector} says {text!r}, but it says {self.text(selector)!r}")

    def resize(self, width, scale=1):
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=scale,
                      mobile=width < 600)

    def prefer(self, scheme):
        self.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def take_picture(self, file):
        height = self.run("return Math.ceil(document.body.getBoundingClientRect().height)")
        width = self.run("return innerWidth")
        picture = self.devtools("Page.captureScreenshot", captureBeyondViewport=True,
                                clip={"x": 0, "y": 0, "width": width, "height": height, "scale": 1})
        with open(file, "wb") as out:
            out.write(base64.b64decode(picture["data"]))

    def quit(self):
        try:
            if self.session:
                self.request("DELETE", self.session)
        finally:
            self.process.terminate()
            self.process.wait()
