import "../ui/theme.css";
import "../ui/controls.css";
import { refuseDrops } from "../ui/drop";
import { showScheme } from "../ui/scheme";
import "../viewer/viewer.css";
import "./files.css";
import { Page } from "./page";
import { wanted } from "./spec";

showScheme();
refuseDrops();
const spec = wanted(location);
if (!spec) location.replace("/");
else void new Page(document.body, spec).start();
